#include "worker/engine/step_plan.h"

#include <cstdint>
#include <tuple>
#include <type_traits>

#include "base/shared_fields.h"
#include "base/wire.h"

namespace sinkstream {

// What stands here is found by its argument, which a namespace without a name would prevent: hence static.
static constexpr PlanOutput::Kind last_value(PlanOutput::Kind) {
  return PlanOutput::Kind::score;
}

static auto fields(wire::Is<OpenSlot> auto& operation) {
  auto& [slot, window] = operation;
  return std::tie(slot, window);
}
static auto fields(wire::Is<BeginTurn> auto& operation) {
  auto& [slot, sampling] = operation;
  return std::tie(slot, sampling);
}
static auto fields(wire::Is<CopySlot> auto& operation) {
  auto& [slot, from] = operation;
  return std::tie(slot, from);
}
static auto fields(wire::Is<SkipSlot> auto& operation) {
  auto& [slot, position] = operation;
  return std::tie(slot, position);
}
static auto fields(wire::Is<RollBackSlot> auto& operation) {
  auto& [slot, length] = operation;
  return std::tie(slot, length);
}
static auto fields(wire::Is<CloseSlot> auto& operation) {
  auto& [slot] = operation;
  return std::tie(slot);
}
static auto fields(wire::Is<SaveSlot> auto& operation) {
  auto& [slot, place] = operation;
  return std::tie(slot, place);
}
static auto fields(wire::Is<LeaveSlot> auto& operation) {
  auto& [slot] = operation;
  return std::tie(slot);
}
static auto fields(wire::Is<RestoreSlot> auto& operation) {
  auto& [slot, place] = operation;
  return std::tie(slot, place);
}
static auto fields(wire::Is<CopySaved> auto& operation) {
  auto& [place, from] = operation;
  return std::tie(place, from);
}
static auto fields(wire::Is<DropSaved> auto& operation) {
  auto& [place] = operation;
  return std::tie(place);
}
static auto fields(wire::Is<WriteSnapshot> auto& operation) {
  auto& [place, snapshot] = operation;
  return std::tie(place, snapshot);
}
static auto fields(wire::Is<ReadSnapshot> auto& operation) {
  auto& [place, snapshot] = operation;
  return std::tie(place, snapshot);
}
static auto fields(wire::Is<RemoveSnapshot> auto& operation) {
  auto& [session] = operation;
  return std::tie(session);
}
static auto fields(wire::Is<KeepOnlySnapshots> auto& operation) {
  auto& [sessions] = operation;
  return std::tie(sessions);
}
static auto fields(wire::Is<AskJob> auto& operation) {
  auto& [job] = operation;
  return std::tie(job);
}
static auto fields(wire::Is<PlanRow> auto& row) {
  auto& [slot, token, position] = row;
  return std::tie(slot, token, position);
}
static auto fields(wire::Is<PlanOutput> auto& output) {
  auto& [kind, logprobs, row, target, top_logprobs] = output;
  return std::tie(kind, logprobs, row, target, top_logprobs);
}
static auto fields(wire::Is<StepPlan> auto& plan) {
  auto& [number, last, operations, rows, outputs] = plan;
  return std::tie(number, last, operations, rows, outputs);
}

// "SNK8"; ranks of different builds must not understand each other.
static constexpr std::uint32_t kMagic = 0x384b4e53;

namespace {

Standing in_slot(std::int32_t slot) {
  return {Standing::Where::slot, slot};
}
Standing in_place(std::int32_t place) {
  return {Standing::Where::place, place};
}

template <typename Operation>
std::optional<Standing> changed(const Operation& operation) {
  if constexpr (std::is_same_v<Operation, SaveSlot> || std::is_same_v<Operation, CopySaved> ||
                std::is_same_v<Operation, DropSaved> || std::is_same_v<Operation, ReadSnapshot>) {
    return in_place(operation.place);
  } else if constexpr (requires { operation.slot; }) {
    return in_slot(operation.slot);
  } else {
    return std::nullopt;
  }
}

template <typename Operation>
std::optional<Standing> read(const Operation&) {
  return std::nullopt;
}
std::optional<Standing> read(const CopySlot& operation) {
  return in_slot(operation.from);
}
std::optional<Standing> read(const SaveSlot& operation) {
  return in_slot(operation.slot);
}
std::optional<Standing> read(const RestoreSlot& operation) {
  return in_place(operation.place);
}
std::optional<Standing> read(const CopySaved& operation) {
  return in_place(operation.from);
}
std::optional<Standing> read(const WriteSnapshot& operation) {
  return in_place(operation.place);
}

}  // namespace

std::optional<Standing> changed_by(const SlotOperation& operation) {
  return std::visit([](const auto& o) { return changed(o); }, operation);
}

std::optional<Standing> read_by(const SlotOperation& operation) {
  return std::visit([](const auto& o) { return read(o); }, operation);
}

bool vacates(const SlotOperation& operation) {
  return std::holds_alternative<CloseSlot>(operation) || std::holds_alternative<LeaveSlot>(operation) ||
         std::holds_alternative<DropSaved>(operation);
}

bool begins_job(const SlotOperation& operation) {
  return std::holds_alternative<WriteSnapshot>(operation) ||
         std::holds_alternative<ReadSnapshot>(operation) ||
         std::holds_alternative<RemoveSnapshot>(operation) ||
         std::holds_alternative<KeepOnlySnapshots>(operation);
}

std::vector<std::byte> encode(const StepPlan& plan) {
  return wire::encode(kMagic, plan);
}

StepPlan decode(std::span<const std::byte> message) {
  wire::Reader in(message);
  if (in.get<std::uint32_t>() != kMagic) throw wire::Malformed("it does not begin like one");
  auto plan = in.get<StepPlan>();
  in.expect_end();
  return plan;
}

}  // namespace sinkstream
