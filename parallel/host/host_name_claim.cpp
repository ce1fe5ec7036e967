#include "parallel/host/host_name_claim.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>

namespace sinkstream {
namespace {

struct AbstractAddress {
  sockaddr_un address{};
  socklen_t length = 0;
};

AbstractAddress abstract_address(const std::string& name) {
  AbstractAddress result;
  result.address.sun_family = AF_UNIX;
  const std::size_t size = std::min(name.size(), sizeof(result.address.sun_path) - 1);
  std::copy_n(name.begin(), size, result.address.sun_path + 1);  // a leading zero: not a file
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return result;
}

}  // namespace

FileDescriptor claim_name(const std::string& name) {
  const AbstractAddress to = abstract_address(name);
  FileDescriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to.address), to.length) != 0) return {};
  return fd;
}

bool is_name_claimed(const std::string& name) {
  const AbstractAddress to = abstract_address(name);
  const FileDescriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to.address), to.length) == 0;
}

}  // namespace sinkstream
