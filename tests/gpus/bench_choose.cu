// How long choosing tokens takes on this machine's GPU, within a graph as a step has it. Some ten seconds.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <random>
#include <span>
#include <vector>

#include "kernels/cuda/choosing/choose.h"
#include "kernels/cuda/choosing/slot_states.h"
#include "tests/gpus/benches.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kMostOutputs = 64;
constexpr int kCallsOfGraph = 20;
constexpr int kGraphs = 20;

template <typename T>
struct OnGpu {
  explicit OnGpu(std::int64_t count) : size(count) {
    check(cudaMalloc(&data, static_cast<std::size_t>(count) * sizeof(T)), "memory");
    check(cudaMemset(data, 0, static_cast<std::size_t>(count) * sizeof(T)), "clearing memory");
  }
  explicit OnGpu(const std::vector<T>& values) : OnGpu(std::ssize(values)) {
    check(cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "a copy");
  }
  ~OnGpu() { cudaFree(data); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;

  Address address() const { return Address{reinterpret_cast<std::uintptr_t>(data)}; }

  T* data = nullptr;
  std::int64_t size;
};

struct Case {
  const char* name;
  SamplingParams sampling;
  bool logprobs = false;
  float spread = 3;  // standard deviation of the logits
};

std::vector<Case> cases() {
  SamplingParams greedy, plain, top_p, all_cuts, penalties;
  greedy.temperature = 0;
  top_p.top_p = 0.95f;
  all_cuts.top_k = 50;
  all_cuts.top_p = 0.9f;
  all_cuts.min_p = 0.01f;
  penalties.temperature = 0;
  penalties.repetition_penalty = 1.1f;
  penalties.repeat_last_n = 64;
  return {
      {"greedy", greedy},
      {"temperature 1", plain},
      {"top_p 0.95", top_p},
      {"top_p 0.95 of a flat distribution", top_p, false, 0.1f},
      {"top_k 50, top_p 0.9, min_p 0.01", all_cuts},
      {"greedy, penalties", penalties},
      {"greedy, 20 logprobs", greedy, true},
      {"top_p 0.95, 20 logprobs", top_p, true},
  };
}

std::vector<float> random_logits(std::int64_t count, float spread) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(static_cast<std::size_t>(count));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

void upload(std::span<const std::byte> from, Address to) {
  check(cudaDeviceSynchronize(), "waiting");
  check(cudaMemcpy(device_pointer<void>(to), from.data(), from.size(), cudaMemcpyHostToDevice), "a copy");
}

// Microseconds a call, the least of some graphs.
template <typename Call>
float time_of(cudaStream_t stream, const Call& call) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "a graph");
  for (int i = 0; i < kCallsOfGraph; ++i) call();
  check(cudaStreamEndCapture(stream, &graph), "a graph");
  check(cudaGraphInstantiate(&executable, graph, 0), "a graph");
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "an event");
  check(cudaEventCreate(&end), "an event");
  float least = 1e9f;
  for (int i = 0; i < kGraphs; ++i) {
    check(cudaEventRecord(begin, stream), "an event");
    check(cudaGraphLaunch(executable, stream), "a graph");
    check(cudaEventRecord(end, stream), "an event");
    check(cudaEventSynchronize(end), "choosing");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "an event");
    least = std::min(least, milliseconds * 1000 / kCallsOfGraph);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  return least;
}

void run(const Device& device, std::int64_t vocab_size, const Case& what) {
  const OnGpu<std::byte> memory(CudaSlotStates::bytes(kMostOutputs, vocab_size));
  CudaSlotStates states(kMostOutputs, vocab_size, Buffer(memory.address(), memory.size, nullptr), upload);
  std::vector<ChoiceTask> tasks;
  for (std::int32_t slot = 0; slot < kMostOutputs; ++slot) {
    SamplingParams sampling = what.sampling;
    sampling.seed = static_cast<std::uint64_t>(slot);
    states.begin_turn(device, upload, slot, sampling);
    tasks.push_back({.logprobs = what.logprobs,
                     .slot = slot,
                     .top_logprobs = what.logprobs ? kMaxTopLogprobs : 0,
                     .position = 1000});
  }
  const OnGpu<float> logits(random_logits(kMostOutputs * vocab_size, what.spread));
  const OnGpu<ChoiceTask> wanted(tasks);
  const OnGpu<Choice> out(kMostOutputs);
  std::printf("%7lld  %-34s", static_cast<long long>(vocab_size), what.name);
  for (const std::int64_t outputs : {1, 16, 64}) {
    const Logits rows{logits.address(), outputs, vocab_size, vocab_size, 1};
    const float microseconds = time_of(device.stream, [&] {
      choose(device, rows, {wanted.address(), outputs}, states.view(), {out.address(), outputs});
    });
    std::printf("  %8.1f", static_cast<double>(microseconds));
  }
  Choice first;
  check(cudaMemcpy(&first, out.data, sizeof first, cudaMemcpyDeviceToHost), "a copy");
  std::printf("   (token %d)\n", first.token);
}

void run_all() {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "what the GPU is");
  const OnGpu<std::byte> workspace(std::int64_t{128} << 20);
  Device device;
  check(cudaStreamCreateWithFlags(&device.stream, cudaStreamNonBlocking), "a stream");
  device.multiprocessors = properties.multiProcessorCount;
  device.has_early_launch = properties.major >= 9;
  device.workspace = workspace.address();
  device.workspace_bytes = workspace.size;
  std::printf("%s: microseconds to choose from this many rows of logits\n", properties.name);
  std::printf("%7s  %-34s  %8d  %8d  %8d\n", "vocab", "", 1, 16, 64);
  for (const std::int64_t vocab_size : {32'000, 128'256}) {
    for (const Case& what : cases()) run(device, vocab_size, what);
  }
}

}  // namespace
}  // namespace sinkstream::kernels::cuda

int sinkstream::bench_choose(std::span<const std::string>) {
  kernels::cuda::run_all();
  return 0;
}
