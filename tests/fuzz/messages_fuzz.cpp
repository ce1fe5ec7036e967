// What a coordinator and an engine would receive from one another: whatever the bytes are, they are refused
// or a message that encodes to the same bytes again.
#include <algorithm>
#include <cstdint>
#include <span>

#include "base/wire.h"
#include "engine/messages.h"
#include "tests/fuzz/scratch.h"

namespace sinkstream::fuzz {
namespace {

template <typename Decode>
void check(std::span<const std::byte> bytes, Decode decode) {
  try {
    if (!std::ranges::equal(encode(decode(bytes)), bytes)) broken("a message has one form on the wire");
  } catch (const wire::Malformed&) {
  }
}

}  // namespace
}  // namespace sinkstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  const auto bytes = std::as_bytes(std::span(data, size));
  fuzz::check(bytes, [](std::span<const std::byte> b) { return decode_command(b); });
  fuzz::check(bytes, [](std::span<const std::byte> b) { return decode_event(b); });
  return 0;
}
