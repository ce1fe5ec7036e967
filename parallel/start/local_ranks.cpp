#include "parallel/start/local_ranks.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <vector>

namespace sinkstream {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown-host";
}

std::string link_target(const char* path) {
  std::array<char, 256> target{};
  const ssize_t length = ::readlink(path, target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : "";
}

std::string boot_id() {
  std::string line;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::getline(file, line);
  return line;
}

}  // namespace

std::string host_identity() {
  return host_name() + " " + boot_id() + " " + link_target("/proc/self/ns/net") + " " +
         link_target("/proc/self/ns/pid");
}

LocalRanks find_local_ranks(Communicator& communicator) {
  const std::vector<std::string> identities = all_gather_strings(communicator, host_identity());
  const auto me = identities.begin() + communicator.rank();
  LocalRanks local;
  local.host = host_name();
  local.local_rank = static_cast<int>(std::count(identities.begin(), me, *me));
  local.local_size = static_cast<int>(std::count(identities.begin(), identities.end(), *me));
  local.single_host = local.local_size == communicator.size();
  return local;
}

}  // namespace sinkstream
