// The directory that holds sessions, which one process uses at a time.
#pragma once

#include <filesystem>

#include "base/file_descriptor.h"

namespace sinkstream {

class StoreDirectory {
 public:
  // Makes it if it isn't there, for this user alone, and locks it until the end of this object or of the
  // process. Throws StartupError (ExitCode::config).
  explicit StoreDirectory(const std::filesystem::path& path);

  // The database, which is made if it isn't there: as SQLite does, but for this user alone.
  std::filesystem::path database_file() const;
  // What SQLite writes before it goes into the database.
  std::filesystem::path log_file() const;
  // For a database that is made anew: an empty file to make it in; it becomes the database, whose file is
  // kept.
  std::filesystem::path make_new_file() const;
  std::filesystem::path kept_file() const;
  void replace_database() const;
  // A directory's entries are on the disk only when the directory is.
  void sync() const;

 private:
  std::filesystem::path path_;
  FileDescriptor lock_;
};

}  // namespace sinkstream
