// The small message in which the leader describes one forward pass of the whole group. Every rank applies the
// same plans in the same order and holds no other shared state, so ranks cannot drift.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/cache_geometry.h"
#include "base/sampling_params.h"
#include "base/token_id.h"
#include "engine/snapshot.h"
#include "kernels/choice.h"

namespace sinkstream {

// What happens to slots, and to the parking places beside them, before a step's rows and in this order. Each
// may fail, on one rank too: then its session ends, and the slot is closed by a later plan. If a session
// could only not be saved, it goes on in its slot.

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
// The session's tokens before `position` that it has not taken in are left out: its ring begins there.
struct SkipSlot {
  std::int32_t slot = 0;
  std::int64_t position = 0;
};
// Back to the first `length` tokens, as far as the ring still has their window. The turn is over.
struct RollBackSlot {
  std::int32_t slot = 0;
  std::int64_t length = 0;
};
// The session ends: nothing of it is left in the slot.
struct CloseSlot {
  std::int32_t slot = 0;
};
// A free place takes the session that stands in a slot, as it is there; the slot keeps it.
struct SaveSlot {
  std::int32_t slot = 0;
  std::int32_t place = 0;
};
// The slot is free, since its session was saved. What is in its memory stays until others write over it.
struct LeaveSlot {
  std::int32_t slot = 0;
};
// A free slot takes the session that was saved in a place, which keeps it. There is no turn.
struct RestoreSlot {
  std::int32_t slot = 0;
  std::int32_t place = 0;
};
// A free place takes what was saved in `from`.
struct CopySaved {
  std::int32_t place = 0;
  std::int32_t from = 0;
};
// The place is free.
struct DropSaved {
  std::int32_t place = 0;
};

// ---- Files. These begin a job each, which is done beside the steps that follow: in the order of the plans,
// each when all that was queued before has been done. Jobs are counted from 1.

// A file takes what is in a full place, which stays as it is until the job is done.
struct WriteSnapshot {
  std::int32_t place = 0;
  Snapshot snapshot;
};
// A free place takes what is in a file. Its session may be restored when the job is done on every rank.
struct ReadSnapshot {
  std::int32_t place = 0;
  Snapshot snapshot;
};
struct RemoveSnapshot {
  std::uint64_t session = 0;
};
struct KeepOnlySnapshots {
  std::vector<std::uint64_t> sessions;
};
// Asks how a job is: what failed in it is this operation's failure, and while it isn't done this is
// unfinished.
struct AskJob {
  std::uint64_t job = 0;
};

using SlotOperation = std::variant<OpenSlot, BeginTurn, CopySlot, SkipSlot, RollBackSlot, CloseSlot, SaveSlot,
                                   LeaveSlot, RestoreSlot, CopySaved, DropSaved, WriteSnapshot, ReadSnapshot,
                                   RemoveSnapshot, KeepOnlySnapshots, AskJob>;

// Where a session stands: in a slot, or parked in a place.
struct Standing {
  enum class Where : std::uint8_t { slot, place };
  Where where = Where::slot;
  std::int32_t index = 0;
  auto operator<=>(const Standing&) const = default;
};

// What an operation changes, if it is a slot or a place, and what it reads of another.
std::optional<Standing> changed_by(const SlotOperation& operation);
std::optional<Standing> read_by(const SlotOperation& operation);
// Whether nothing stands there afterwards.
bool vacates(const SlotOperation& operation);
bool begins_job(const SlotOperation& operation);

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
