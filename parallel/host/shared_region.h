// Memory that processes of one host share.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/file_descriptor.h"

namespace sinkstream {

// It goes with the last process that has it, however that ends: no file system holds it.
class SharedRegion {
 public:
  // Zeros, all of which are there to be written. Throws std::system_error, as the next.
  static SharedRegion make(std::size_t bytes);
  // That of a process of this user and of the same process numbers, by its name there.
  static SharedRegion open(const std::string& name, std::size_t bytes);
  ~SharedRegion();
  SharedRegion(SharedRegion&& other) noexcept;
  SharedRegion& operator=(SharedRegion&&) = delete;

  std::string name() const;  // by which others open it, until close_name()
  void close_name();         // whoever has it open keeps it
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  SharedRegion(FileDescriptor file, std::size_t bytes);

  FileDescriptor file_;
  std::span<std::byte> bytes_;
};

}  // namespace sinkstream
