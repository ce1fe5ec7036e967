// A whole file, mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace sinkstream {

class MappedFile {
 public:
  // Throws StartupError (ExitCode::model) naming the file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

  // Asks the system to fetch these bytes from disk. Nothing else is read ahead: the rest is other ranks'.
  void prefetch(std::size_t begin, std::size_t count) const;
  // These bytes count no more as this process's memory until they are read again: the system may keep them.
  void release(std::size_t begin, std::size_t count) const;

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace sinkstream
