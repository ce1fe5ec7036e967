// A communicator that tells the watchdog when its rank waits for others and when it works.
#pragma once

#include "parallel/communicator/communicator.h"
#include "parallel/watch/liveness.h"

namespace sinkstream {

class WatchedCommunicator final : public Communicator {
 public:
  WatchedCommunicator(Communicator& inner, Liveness& liveness) : inner_(inner), liveness_(liveness) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }

  void all_reduce_sum(std::span<float> values) override {
    watch("all-reduce", [&] { inner_.all_reduce_sum(values); });
  }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    watch("all-gather", [&] { inner_.all_gather(mine, all); });
  }
  void barrier() override {
    watch("barrier", [&] { inner_.barrier(); });
  }
  // Not watched: how long the leader may keep the others waiting is for those to say who wait.
  void broadcast(std::vector<std::byte>& message) override { inner_.broadcast(message); }
  void abort(const std::string& reason) override { inner_.abort(reason); }

  // What follows belongs to this step.
  void begin_step(std::uint64_t step) {
    step_ = step;
    liveness_.working("a step", step_);
  }

 private:
  template <typename Operation>
  void watch(const char* what, const Operation& operation) {
    liveness_.waiting(what, step_);
    operation();
    liveness_.working("a step", step_);
  }

  Communicator& inner_;
  Liveness& liveness_;
  std::uint64_t step_ = 0;
};

}  // namespace sinkstream
