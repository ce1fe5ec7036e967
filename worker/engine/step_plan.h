// The small message in which the leader describes one forward pass of the whole group. Every rank applies the
// same plans in the same order and holds no other shared state, so ranks cannot drift.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "base/cache_geometry.h"
#include "base/sampling_params.h"
#include "base/token_id.h"
#include "kernels/choice.h"

namespace sinkstream {

// What happens to slots before a step's rows, in this order. Each may fail, on one rank too: then its session
// ends, and the slot is closed by a later plan.

// A session without tokens takes a free slot.
struct OpenSlot {
  std::int32_t slot = 0;
  CacheWindow window;
};
// Tokens are chosen in this way from now on; none has been yet.
struct BeginTurn {
  std::int32_t slot = 0;
  SamplingParams sampling;
};
// A free slot takes the session that stands in `from`, as it is there. The copy has no turn.
struct CopySlot {
  std::int32_t slot = 0;
  std::int32_t from = 0;
};
// Back to the first `length` tokens, as far as the ring still has their window. The turn is over.
struct RollBackSlot {
  std::int32_t slot = 0;
  std::int64_t length = 0;
};
struct CloseSlot {
  std::int32_t slot = 0;
};
using SlotOperation = std::variant<OpenSlot, BeginTurn, CopySlot, RollBackSlot, CloseSlot>;

constexpr std::int32_t slot_of(const SlotOperation& operation) {
  return std::visit([](const auto& o) { return o.slot; }, operation);
}

// One token to take in. Rows of one slot stand together, in ascending position.
struct PlanRow {
  std::int32_t slot = 0;
  TokenId token = 0;  // or kernels::kLastChosen
  std::int64_t position = 0;
};

// What is wanted of a row's logits.
struct PlanOutput {
  enum class Kind : std::uint8_t {
    sample,  // choose the slot's next token
    score,   // log-probability of `target`
  };
  Kind kind = Kind::sample;
  bool logprobs = false;  // sample: report the log-probability too
  std::int32_t row = 0;   // index into rows
  TokenId target = 0;     // score
  std::int32_t top_logprobs = 0;
};

struct StepPlan {
  std::uint64_t number = 0;  // 1, 2, 3 ...: a gap means that ranks have drifted
  bool last = false;         // the group ends in good order after this one
  std::vector<SlotOperation> operations;
  std::vector<PlanRow> rows;
  std::vector<PlanOutput> outputs;
};

std::vector<std::byte> encode(const StepPlan& plan);

// Throws wire::Malformed when the message is not a whole plan of this build. Whether the group can do what it
// says: plan_limits.h.
StepPlan decode(std::span<const std::byte> message);

}  // namespace sinkstream
