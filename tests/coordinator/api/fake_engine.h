// An engine without a model: every generation says the same tokens, at a speed the test sets.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace sinkstream::testing {

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(EngineLimits limits);
  ~FakeEngine() override;

  // What generations say. `endless`: over and over; else an end token follows.
  void set_reply(std::vector<TokenId> tokens, bool endless = false);
  void set_token_time(std::chrono::milliseconds time);
  void hold(bool held);  // nothing is generated meanwhile: everything waits in the queue
  void fail_all(const std::string& message, FinishReason reason = FinishReason::ending);
  void end();  // takes nothing new
  void set_stats(const EngineStats& stats);

  std::size_t num_active() const;
  std::size_t num_cancelled() const;
  std::vector<GenerationRequest> requests() const;  // all that were accepted

  const EngineLimits& limits() const override { return limits_; }
  SubmitResult submit(std::vector<Submission> submissions) override;
  void cancel(const std::string& id) override;
  EngineStats stats() const override;

 private:
  struct Active {
    Submission submission;
    std::size_t prompt_read = 0;
    std::size_t generated = 0;
    bool cancelled = false;
  };

  void run();
  bool step(Active& active);  // true: finished
  void finish(Active& active, FinishReason reason, std::int64_t seen);

  const EngineLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Active> active_;
  std::vector<GenerationRequest> requests_;
  std::vector<TokenId> reply_;
  bool endless_ = false;
  bool held_ = false;
  bool ending_ = false;
  bool stopping_ = false;
  std::size_t num_cancelled_ = 0;
  EngineStats stats_;
  std::chrono::milliseconds token_time_{0};
  std::thread thread_;
};

}  // namespace sinkstream::testing
