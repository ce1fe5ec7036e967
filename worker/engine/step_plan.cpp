#include "worker/engine/step_plan.h"

#include <cstdint>
#include <tuple>

#include "base/shared_fields.h"
#include "base/wire.h"

namespace sinkstream {

// What stands here is found by its argument, which a namespace without a name would prevent: hence static.
static constexpr SlotOperation::Kind last_value(SlotOperation::Kind) {
  return SlotOperation::Kind::close;
}
static constexpr PlanOutput::Kind last_value(PlanOutput::Kind) {
  return PlanOutput::Kind::score;
}

static auto fields(wire::Is<SlotOperation> auto& operation) {
  auto& [kind, slot, window, sampling] = operation;
  return std::tie(kind, slot, window, sampling);
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

// "SNK4"; ranks of different builds must not understand each other.
static constexpr std::uint32_t kMagic = 0x344b4e53;

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
