#include "parallel/host/shared_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace sinkstream {
namespace {

[[noreturn]] void fail(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

}  // namespace

SharedRegion SharedRegion::make(std::size_t bytes) {
  FileDescriptor file(::memfd_create("sinkstream", MFD_CLOEXEC));
  if (!file) fail(errno, "memfd_create");
  // Memory that is not there is an error here, and not a fault when it is written.
  if (const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes))) {
    fail(error, "posix_fallocate");
  }
  return {std::move(file), bytes};
}

SharedRegion SharedRegion::open(const std::string& name, std::size_t bytes) {
  FileDescriptor file(::open(name.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) fail(errno, name.c_str());
  SharedRegion region(std::move(file), bytes);
  region.close_name();
  return region;
}

SharedRegion::SharedRegion(FileDescriptor file, std::size_t bytes) : file_(std::move(file)) {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (memory == MAP_FAILED) fail(errno, "mmap");
  bytes_ = {static_cast<std::byte*>(memory), bytes};
}

SharedRegion::SharedRegion(SharedRegion&& other) noexcept
    : file_(std::move(other.file_)), bytes_(std::exchange(other.bytes_, {})) {}

SharedRegion::~SharedRegion() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

std::string SharedRegion::name() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_.get());
}

void SharedRegion::close_name() {
  file_ = FileDescriptor();
}

}  // namespace sinkstream
