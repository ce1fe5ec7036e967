// Whole steps of models with random weights on a GPU: tokens a second by shape, weights and streams.
//   gpu-bench steps SHAPE WEIGHTS RANKS STREAMS[,STREAMS...] [POSITION]
// RANKS above 1: one rank's share, the others replaced by a stub that waits kStubMicroseconds for each sum.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/device_array.h"
#include "tests/gpus/benches.h"
#include "tests/gpus/random_model.h"
#include "tests/gpus/stub_exchange.h"
#include "worker/model/model.h"

namespace sinkstream {
namespace {

constexpr float kStubMicroseconds = 8;
constexpr std::int64_t kPrefillRows = 512;
constexpr CacheWindow kWindow = {.sink_tokens = 4, .window_tokens = 1024};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Steps of some streams, each a token behind its last, launched before the one before is collected.
class Streams {
 public:
  Streams(Model& model, std::int32_t streams, std::int64_t position)
      : model_(model),
        position_(position),
        choices_(kernels::allocate_array<kernels::Choice>(model.backend(), streams, "choices")),
        chosen_(static_cast<std::size_t>(streams)) {
    for (std::int32_t slot = 0; slot < streams; ++slot) model.begin_turn(slot, {.temperature = 0});
    step(false);
  }
  ~Streams() {
    for (std::int32_t slot = 0; slot < std::ssize(chosen_); ++slot) model_.close_slot(slot);
  }

  // Seconds of a step, the median of `repeats` times `steps`.
  double time(int repeats, int steps) {
    std::vector<double> each;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      const auto begin = Clock::now();
      std::uint64_t last = step(true);
      for (int i = 1; i < steps; ++i) {
        const std::uint64_t next = step(true);
        model_.backend().wait(last);
        last = next;
      }
      model_.backend().wait(last);
      each.push_back(seconds_since(begin) / steps);
    }
    std::ranges::sort(each);
    return each[each.size() / 2];
  }

 private:
  std::uint64_t step(bool go_on) {
    std::vector<ModelRow> rows;
    for (std::int32_t slot = 0; slot < std::ssize(chosen_); ++slot) {
      rows.push_back({slot, go_on ? kernels::kLastChosen : 17 + slot, position_, kWindow});
    }
    ++position_;
    model_.forward(rows);
    for (std::int64_t begin = 0; begin < std::ssize(rows); begin += kOutputsAtOnce) {
      const std::int64_t count = std::min(kOutputsAtOnce, std::ssize(rows) - begin);
      std::vector<std::int32_t> selected;
      std::vector<kernels::ChoiceTask> tasks;
      for (std::int64_t i = begin; i < begin + count; ++i) {
        selected.push_back(static_cast<std::int32_t>(i));
        tasks.push_back({.slot = static_cast<std::int32_t>(i), .position = position_});
      }
      model_.choose(model_.logits(selected), tasks, choices_.span.part(begin, count));
    }
    model_.backend().download(choices_.span.data, std::as_writable_bytes(std::span(chosen_)));
    return model_.backend().mark();
  }

  Model& model_;
  std::int64_t position_;
  kernels::DeviceArray<kernels::Choice> choices_;
  std::vector<kernels::Choice> chosen_;
};

double time_prefill(Model& model) {
  std::vector<ModelRow> rows;
  std::int64_t position = 0;
  std::vector<double> each;
  for (int repeat = 0; repeat < 7; ++repeat) {
    rows.clear();
    for (std::int64_t i = 0; i < kPrefillRows; ++i) {
      rows.push_back({0, static_cast<TokenId>(i), position + i, kWindow});
    }
    position += kPrefillRows;
    const auto begin = Clock::now();
    model.forward(rows);
    model.backend().wait(model.backend().mark());
    each.push_back(seconds_since(begin));
  }
  std::ranges::sort(each);
  return each[each.size() / 2];
}

}  // namespace

int bench_steps(std::span<const std::string> arguments) {
  if (arguments.size() < 4) {
    std::fprintf(stderr, "gpu-bench steps SHAPE WEIGHTS RANKS STREAMS[,STREAMS...] [POSITION]\n");
    return 2;
  }
  const ModelConfig config = shape_of(arguments[0]);
  const auto format = kernels::parse_weight_format(arguments[1]);
  const int ranks = std::stoi(arguments[2]);
  std::vector<std::int32_t> stream_counts;
  std::istringstream counts(arguments[3]);
  for (std::string count; std::getline(counts, count, ',');) stream_counts.push_back(std::stoi(count));
  const std::int64_t position = arguments.size() > 4 ? std::stoll(arguments[4]) : 5000;
  if (!format || ranks < 1) return 2;

  kernels::CudaBackend backend({}, ranks == 1 ? kernels::cuda::make_alone()
                                              : kernels::cuda::make_stub_exchange(ranks, kStubMicroseconds));
  const ShardPlan shard = make_shard_plan(config.shard_sizes(), ranks, 0);
  const auto begin = Clock::now();
  Weights weights = random_weights(config, shard, *format, backend);
  const std::int64_t bytes = weight_bytes(
      config, shard, *format, [&](const kernels::WeightShape& shape) { return backend.packed_bytes(shape); });
  const std::int32_t slots = *std::ranges::max_element(stream_counts);
  const KvCacheSizes cache = {
      .num_slots = slots, .sink_capacity = 16, .ring_capacity = 2048, .type = kernels::DType::bf16};
  Model model(config, shard, std::move(weights), cache, std::max<std::int64_t>(slots, kPrefillRows), backend);
  backend.wait(backend.mark());
  std::printf("%s %s, rank 0 of %d%s, on %s: %.2f GB of weights, made in %.1f s\n", arguments[0].c_str(),
              arguments[1].c_str(), ranks, ranks > 1 ? " (sums are a stub of 8 us)" : "",
              backend.description().c_str(), static_cast<double>(bytes) / 1e9, seconds_since(begin));
  for (const std::int32_t count : stream_counts) {
    Streams streams(model, count, position);
    streams.time(1, 8);  // warms up: graphs are made
    const double seconds = streams.time(5, 20);
    std::printf(
        "  %2d streams at position %lld: %.3f ms a step, %.1f tokens/s a stream, %.0f tokens/s, weights read "
        "at %.0f GB/s\n",
        count, static_cast<long long>(position), seconds * 1e3, 1 / seconds, count / seconds,
        static_cast<double>(bytes) / seconds / 1e9);
    std::fflush(stdout);
  }
  const double seconds = time_prefill(model);
  std::printf("  prefill of %lld tokens: %.2f ms, %.0f tokens/s; graphs launched %lld\n",
              static_cast<long long>(kPrefillRows), seconds * 1e3,
              static_cast<double>(kPrefillRows) / seconds, static_cast<long long>(backend.graphs_launched()));
  return 0;
}

}  // namespace sinkstream
