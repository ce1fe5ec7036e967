// A step plan on the wire: decoded as it is, and as a plan built from the same bytes with some of its bytes
// changed. What is accepted encodes to the same bytes again.
#include <algorithm>
#include <stdexcept>

#include "tests/fuzz/scratch.h"
#include "worker/engine/plan_limits.h"

namespace sinkstream::fuzz {
namespace {

class Bytes {
 public:
  explicit Bytes(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
  std::uint8_t next() {
    if (rest_.empty()) return 0;
    const std::uint8_t byte = rest_.front();
    rest_ = rest_.subspan(1);
    return byte;
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::uint8_t> rest_;
};

Snapshot build_snapshot(Bytes& bytes) {
  return {.name = {bytes.next(), bytes.next()},
          .window = {bytes.next() % 4, 1 + bytes.next() % 8},
          .seen = bytes.next(),
          .written = 255,
          .sound_from = bytes.next()};
}

SlotOperation build_operation(Bytes& bytes) {
  const std::int32_t slot = bytes.next() % 4;
  const std::int32_t place = bytes.next() % 2;
  switch (bytes.next() % 16) {
    case 0:
      return OpenSlot{slot, {bytes.next() % 4, 1 + bytes.next() % 8}};
    case 1: {
      BeginTurn turn{.slot = slot};
      turn.sampling.logit_bias.resize(bytes.next() % 3u);
      return turn;
    }
    case 2:
      return CopySlot{slot, bytes.next() % 4};
    case 3:
      return RollBackSlot{slot, bytes.next()};
    case 4:
      return SaveSlot{slot, place};
    case 5:
      return LeaveSlot{slot};
    case 6:
      return RestoreSlot{slot, place};
    case 7:
      return CopySaved{place, bytes.next() % 2};
    case 8:
      return DropSaved{place};
    case 9:
      return SkipSlot{slot, bytes.next()};
    case 10:
      return WriteSnapshot{place, build_snapshot(bytes)};
    case 11:
      return ReadSnapshot{place, build_snapshot(bytes)};
    case 12:
      return RemoveSnapshot{bytes.next()};
    case 13:
      return KeepOnlySnapshots{{bytes.next(), bytes.next()}};
    case 14:
      return AskJob{bytes.next()};
    default:
      return CloseSlot{slot};
  }
}

StepPlan build(Bytes& bytes) {
  StepPlan plan;
  plan.number = bytes.next();
  plan.operations.resize(bytes.next() % 5u);
  for (SlotOperation& operation : plan.operations) operation = build_operation(bytes);
  plan.rows.resize(bytes.next() % 8u);
  for (PlanRow& row : plan.rows) row = {bytes.next() % 4, bytes.next() % 50, bytes.next()};
  plan.outputs.resize(plan.rows.empty() ? 0 : bytes.next() % 4u);
  for (PlanOutput& output : plan.outputs)
    output.row = static_cast<std::int32_t>(bytes.next() % plan.rows.size());
  return plan;
}

void check(std::span<const std::byte> message) {
  PlanLimits limits;
  limits.num_slots = 4;
  limits.num_places = 2;
  limits.has_snapshots = true;
  limits.max_rows = 8;
  limits.vocab_size = 50;
  limits.session.sink_capacity = 4;
  limits.session.window.window_tokens = 8;
  try {
    if (!std::ranges::equal(encode(decode(message, limits)), message)) broken("a plan survives the wire");
  } catch (const std::runtime_error&) {
  }
}

}  // namespace
}  // namespace sinkstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  fuzz::check(std::as_bytes(std::span(data, size)));
  fuzz::Bytes bytes({data, size});
  std::vector<std::byte> message = encode(fuzz::build(bytes));
  fuzz::check(message);
  while (!bytes.empty()) {
    const std::size_t at = (bytes.next() * 256u + bytes.next()) % message.size();
    message[at] = static_cast<std::byte>(bytes.next());
    fuzz::check(message);
  }
  return 0;
}
