#include <random>

#include "tests/kernels/benchmarks/bench_backend.h"

namespace sinkstream::kernels {
namespace {

// A row of logits in each slot, as a model gives them.
void choose(benchmark::State& state, const SamplingParams& sampling, bool scores) {
  Backend& backend = bench_backend();
  const auto slots = static_cast<std::int32_t>(state.range(0));
  std::mt19937 random(12);
  std::normal_distribution<float> normal(0, 3);
  Tensor values(slots, kVocabulary);
  for (float& value : values.data) value = normal(random);
  const DeviceTensor logits(backend, values);
  const auto states = backend.make_slot_states(slots, kVocabulary);
  std::vector<ChoiceTask> tasks;
  for (std::int32_t slot = 0; slot < slots; ++slot) {
    backend.begin_turn(slot, sampling, *states);
    tasks.push_back({.sample = !scores, .slot = slot, .target = 17, .position = 100 + slot});
  }
  const OnDevice<ChoiceTask> of_rows(backend, tasks);
  const OnDevice<Choice> out(backend, std::vector<Choice>(tasks.size()));
  time_calls(state, {bytes_of(logits)}, [&] {
    backend.choose(logits, {0, kVocabulary}, kVocabulary, of_rows, *states, out);
  });
}

void slots(benchmark::internal::Benchmark* bench) {
  bench->ArgName("slots")->Arg(1)->Arg(16)->UseRealTime();
}
BENCHMARK_CAPTURE(choose, greedy, SamplingParams{.temperature = 0}, false)->Apply(slots);
BENCHMARK_CAPTURE(choose, sampled, SamplingParams{.temperature = 1}, false)->Apply(slots);
BENCHMARK_CAPTURE(choose, top_p, SamplingParams{.temperature = 1, .top_p = 0.9f}, false)->Apply(slots);
BENCHMARK_CAPTURE(choose, scored, SamplingParams{}, true)->Apply(slots);

}  // namespace
}  // namespace sinkstream::kernels
