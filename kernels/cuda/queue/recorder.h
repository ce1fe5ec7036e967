// Operations wait here until something else has to follow them, and are then launched together: as a CUDA
// graph where the same operations with the same arguments came before. A step of a model is one such sequence
// for each number of rows, so a graph stands for a step without anybody above knowing of graphs.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cuda/device.h"

namespace sinkstream::kernels::cuda {

// An operation with its arguments, to be launched once or again.
class Call {
 public:
  virtual ~Call() = default;
  virtual void launch(const Device& device) const = 0;
  virtual bool equals(const Call& other) const = 0;
};

template <auto kOperation, typename... Arguments>
class CallOf final : public Call {
 public:
  explicit CallOf(const Arguments&... arguments) : arguments_(arguments...) {}

  void launch(const Device& device) const override {
    std::apply([&](const auto&... arguments) { kOperation(device, arguments...); }, arguments_);
  }
  bool equals(const Call& other) const override {
    const auto* const same = dynamic_cast<const CallOf*>(&other);
    return same != nullptr && same->arguments_ == arguments_;
  }

 private:
  std::tuple<Arguments...> arguments_;
};

class Recorder {
 public:
  // Keeps the `most_sequences` used last. Shorter ones than kShortest are launched call by call.
  explicit Recorder(const Device& device, std::size_t most_sequences = 64);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  static constexpr std::size_t kShortest = 4;

  // Arguments are compared with ==; memory that they name may hold anything else the next time.
  template <auto kOperation, typename... Arguments>
  void add(const Arguments&... arguments) {
    waiting_.push_back(std::make_unique<CallOf<kOperation, std::decay_t<Arguments>...>>(arguments...));
  }
  // Launches what waits.
  void flush();

  // Graphs launched so far.
  std::int64_t graphs_launched() const { return graphs_launched_; }

 private:
  using Calls = std::vector<std::unique_ptr<Call>>;
  struct Sequence {
    Calls calls;
    cudaGraphExec_t graph = nullptr;  // from the second time on
  };

  void launch_all(const Calls& calls) const;
  cudaGraphExec_t capture(const Calls& calls) const;
  std::list<Sequence>::iterator find(const Calls& calls);
  void forget_oldest();

  const Device& device_;
  std::size_t most_sequences_;
  Calls waiting_;
  std::list<Sequence> known_;  // the one used last in front
  std::int64_t graphs_launched_ = 0;
};

}  // namespace sinkstream::kernels::cuda
