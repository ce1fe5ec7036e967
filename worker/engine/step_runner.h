// Applies step plans on one rank: slot operations, forward pass, choice of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "parallel/communicator/communicator.h"
#include "worker/engine/sampler.h"
#include "worker/engine/step_plan.h"
#include "worker/model/model.h"

namespace sinkstream {

class StepRunner {
 public:
  StepRunner(Model& model, Communicator& communicator, const PlanLimits& limits);

  // Collective: every rank runs the same plans. One result for each of the plan's outputs, the same on every
  // rank. Throws std::runtime_error when the plan does not follow on the last one (a rank has drifted).
  std::vector<TokenResult> run(const StepPlan& plan);

  const PlanLimits& limits() const { return limits_; }

 private:
  // What a rank knows of a session in a slot, all of it derived from the plans.
  struct Slot {
    bool open = false;
    CacheWindow window;
    SamplingParams sampling;
    std::int64_t seen = 0;  // tokens taken in
    TokenId last_sampled = -1;
    std::int64_t num_sampled = 0;
    std::unordered_map<TokenId, std::int32_t> output_counts;
  };

  void apply(const SlotOperation& operation);
  std::vector<ModelRow> take_in(std::span<const PlanRow> rows);
  void evaluate_block(const StepPlan& plan, kernels::ConstMatrix hidden, std::span<const PlanOutput> outputs,
                      std::vector<TokenResult>& results);

  Model& model_;
  Communicator& communicator_;
  PlanLimits limits_;
  std::uint64_t last_number_ = 0;
  std::vector<Slot> slots_;
  std::vector<float> logits_;  // [rows of a block, local_vocab]
};

}  // namespace sinkstream
