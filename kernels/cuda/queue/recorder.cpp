#include "kernels/cuda/queue/recorder.h"

#include <algorithm>

namespace sinkstream::kernels::cuda {

Recorder::Recorder(const Device& device, std::size_t most_sequences)
    : device_(device), most_sequences_(most_sequences) {}

Recorder::~Recorder() {
  while (!known_.empty()) forget_oldest();
}

void Recorder::flush() {
  if (waiting_.empty()) return;
  Calls calls = std::exchange(waiting_, {});
  if (calls.size() < kShortest) return launch_all(calls);
  const auto known = find(calls);
  if (known == known_.end()) {
    launch_all(calls);
    if (known_.size() == most_sequences_) forget_oldest();
    known_.emplace_front();
    known_.front().calls = std::move(calls);
    return;
  }
  known_.splice(known_.begin(), known_, known);
  if (known->graph == nullptr) known->graph = capture(calls);
  check(cudaGraphLaunch(known->graph, device_.stream), "a step's graph");
  ++graphs_launched_;
}

void Recorder::launch_all(const Calls& calls) const {
  for (const auto& call : calls) call->launch(device_);
}

cudaGraphExec_t Recorder::capture(const Calls& calls) const {
  check(cudaStreamBeginCapture(device_.stream, cudaStreamCaptureModeThreadLocal), "recording a step");
  cudaGraph_t graph = nullptr;
  try {
    launch_all(calls);
  } catch (...) {
    cudaStreamEndCapture(device_.stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(device_.stream, &graph), "recording a step");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "a step's graph");
  return executable;
}

std::list<Recorder::Sequence>::iterator Recorder::find(const Calls& calls) {
  const auto same = [](const auto& a, const auto& b) { return a->equals(*b); };
  return std::ranges::find_if(
      known_, [&](const Sequence& known) { return std::ranges::equal(known.calls, calls, same); });
}

void Recorder::forget_oldest() {
  if (known_.back().graph != nullptr) cudaGraphExecDestroy(known_.back().graph);
  known_.pop_back();
}

}  // namespace sinkstream::kernels::cuda
