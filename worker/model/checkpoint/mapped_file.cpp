#include "worker/model/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace sinkstream {
namespace {

// Linux cuts one request for read-ahead off at the device's limit, by default 128 KiB.
constexpr std::size_t kPrefetchBytes = 128 << 10;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  throw StartupError(ExitCode::model, path.string() + ": " + reason);
}

[[noreturn]] void refuse_with_errno(const std::filesystem::path& path) {
  const std::string hint = errno == ENOENT ? "; is the download complete?" : "";
  refuse(path, "cannot be read: " + std::generic_category().message(errno) + hint);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // not to wait on a pipe
  if (descriptor < 0) refuse_with_errno(path);
  struct stat status = {};
  const bool is_file = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = nullptr;
  if (is_file && size > 0) address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  close(descriptor);  // the mapping stays
  if (!is_file) refuse(path, "not a regular file");
  if (address == MAP_FAILED) refuse_with_errno(path);
  bytes_ = {static_cast<const std::byte*>(address), size};
  if (size > 0) madvise(address, size, MADV_RANDOM);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

void MappedFile::prefetch(std::size_t begin, std::size_t count) const {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t end = begin + count;
  for (std::size_t at = begin / page * page; at < end; at += kPrefetchBytes) {
    madvise(const_cast<std::byte*>(bytes_.data()) + at, std::min(kPrefetchBytes, end - at), MADV_WILLNEED);
  }
}

void MappedFile::release(std::size_t begin, std::size_t count) const {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t first = begin / page * page;
  madvise(const_cast<std::byte*>(bytes_.data()) + first, begin + count - first, MADV_DONTNEED);
}

}  // namespace sinkstream
