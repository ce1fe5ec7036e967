#include "parallel/start/share_memory.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "parallel/communicator/shared_memory.h"
#include "parallel/host/shared_region.h"
#include "parallel/start/together.h"

namespace sinkstream {
namespace {

// The leader's, if this is not the leader's own.
std::string name_from_leader(Communicator& base, const std::optional<SharedRegion>& region) {
  std::vector<std::byte> name;
  if (region) {
    const std::string own = region->name();
    const auto text = std::as_bytes(std::span(own));
    name.assign(text.begin(), text.end());
  }
  base.broadcast(name);
  return {reinterpret_cast<const char*>(name.data()), name.size()};
}

}  // namespace

std::unique_ptr<Communicator> share_memory(Communicator& base) {
  const std::size_t bytes = shared_memory_bytes(base.size());
  std::optional<SharedRegion> region;
  const auto get = [&](const auto& make) {
    together(base, [&] {
      try {
        region.emplace(make());
      } catch (const std::system_error& error) {
        throw StartupError(ExitCode::device, "cannot have " + std::to_string(bytes) +
                                                 " bytes of memory that ranks share (" + error.what() +
                                                 "); parallel.communicator: mpi needs none");
      }
    });
  };
  if (base.is_leader()) {
    get([&] {
      SharedRegion made = SharedRegion::make(bytes);
      prepare_shared_memory(made.bytes(), base.size());
      return made;
    });
  } else {
    together(base, [] {});
  }
  const std::string name = name_from_leader(base, region);
  if (base.is_leader()) {
    together(base, [] {});
  } else {
    get([&] { return SharedRegion::open(name, bytes); });
  }
  region->close_name();  // all have it
  return make_shared_memory_communicator(base, *std::move(region));
}

}  // namespace sinkstream
