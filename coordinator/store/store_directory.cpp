#include "coordinator/store/store_directory.h"

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"

namespace sinkstream {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& path, const std::string& problem) {
  throw StartupError(ExitCode::config, fmt::format("sessions.directory: {}: {}", path.string(), problem));
}

[[noreturn]] void refuse(const fs::path& path, const char* action, int error) {
  refuse(path,
         fmt::format("cannot {}: {}; give this user the right to write there, or name another directory",
                     action, std::strerror(error)));
}

void make_directory(const fs::path& path) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);  // mkdir says what is wrong
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) refuse(path, "make the directory", errno);
  if (!fs::is_directory(path, error)) refuse(path, "is not a directory");
}

bool holds_other_things(const fs::path& path) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name != "lock" && name != "snapshots" && !name.starts_with("sessions.db")) return true;
  }
  return static_cast<bool>(error);
}

// What stands there is nobody else's to read, however the directory was made. One that holds other things,
// too, stays as it is.
void close_to_others(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) refuse(path, "look at it", errno);
  const mode_t rights = status.st_mode & 07777;
  if ((rights & (S_IRWXG | S_IRWXO)) == 0) return;
  if (holds_other_things(path)) {
    spdlog::warn(
        "sessions.directory: {}: others have rights there ({:04o}), and it holds other things, too: give "
        "sessions a directory of their own",
        path.string(), rights);
  } else if (::chmod(path.c_str(), S_IRWXU) == 0) {
    spdlog::info("sessions.directory: {}: its rights are 0700 now; they were {:04o}", path.string(), rights);
  } else {
    spdlog::warn(
        "sessions.directory: {}: others have rights there ({:04o}), and this user cannot take them: {}",
        path.string(), rights, std::strerror(errno));
  }
}

FileDescriptor make_file(const fs::path& file) {
  FileDescriptor descriptor(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!descriptor) refuse(file, "write", errno);
  return descriptor;
}

}  // namespace

StoreDirectory::StoreDirectory(const fs::path& path) : path_(path) {
  make_directory(path_);
  lock_ = make_file(path_ / "lock");
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) refuse(path_, "lock it", errno);
    refuse(path_, "another process uses it: end that server, or give each server a directory of its own");
  }
  close_to_others(path_);
  make_file(database_file());
}

fs::path StoreDirectory::database_file() const {
  return path_ / "sessions.db";
}

fs::path StoreDirectory::log_file() const {
  return path_ / "sessions.db-wal";
}

fs::path StoreDirectory::make_new_file() const {
  const fs::path file = path_ / "sessions.db.new";
  for (const char* ending : {"", "-wal", "-shm"})
    fs::remove(file.string() + ending);  // of an attempt that was cut short
  make_file(file);
  return file;
}

fs::path StoreDirectory::kept_file() const {
  return path_ / "sessions.db.damaged";
}

// At each moment there is a database, whole or damaged.
void StoreDirectory::replace_database() const {
  std::error_code error;
  fs::remove(kept_file(), error);
  if (::link(database_file().c_str(), kept_file().c_str()) != 0)
    refuse(path_, "keep the damaged database", errno);
  fs::remove(log_file(), error);  // where SQLite could not empty it; it is not the new one's
  fs::remove(database_file().string() + "-shm", error);
  if (::rename((path_ / "sessions.db.new").c_str(), database_file().c_str()) != 0) {
    refuse(path_, "replace the damaged database", errno);
  }
  sync();
}

void StoreDirectory::sync() const {
  const FileDescriptor directory(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) refuse(path_, "sync it to the disk", errno);
}

}  // namespace sinkstream
