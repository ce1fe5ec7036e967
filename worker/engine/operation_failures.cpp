#include "worker/engine/operation_failures.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <tuple>

#include "base/wire.h"

namespace sinkstream {

auto fields(wire::Is<OperationFailure> auto& failure) {
  auto& [operation, message, unfinished] = failure;
  return std::tie(operation, message, unfinished);
}

std::vector<OperationFailure> gather_failures(Communicator& communicator,
                                              const std::vector<OperationFailure>& mine) {
  // Nearly always there is none anywhere, and one number is all that travels.
  const auto counts = all_gather_value(communicator, static_cast<std::int32_t>(mine.size()));
  if (std::all_of(counts.begin(), counts.end(), [](std::int32_t count) { return count == 0; })) return {};

  const auto message = wire::encode(mine);
  const auto messages = all_gather_strings(communicator, std::string(wire::as_text(message)));
  std::vector<OperationFailure> all;
  for (std::size_t rank = 0; rank < messages.size(); ++rank) {
    for (auto& failure : wire::decode<std::vector<OperationFailure>>(wire::as_bytes(messages[rank]))) {
      all.push_back(
          {failure.operation, "rank " + std::to_string(rank) + ": " + failure.message, failure.unfinished});
    }
  }
  return all;
}

}  // namespace sinkstream
