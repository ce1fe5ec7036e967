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
#include "tests/gpus/stub_exchange.h"
#include "tools/bench/model_steps.h"
#include "tools/bench/random_model.h"
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
  const std::int64_t bytes = bytes_of_step(config, shard, *format, backend);
  const std::int32_t slots = *std::ranges::max_element(stream_counts);
  const KvCacheSizes cache = {
      .num_slots = slots, .sink_capacity = 16, .ring_capacity = 2048, .type = kernels::CacheType::bf16};
  Model model(config, shard, std::move(weights), cache, std::max<std::int64_t>(slots, kPrefillRows), backend);
  backend.wait(backend.mark());
  std::printf("%s %s, rank 0 of %d%s, on %s: %.2f GB of weights a step, made in %.1f s\n",
              arguments[0].c_str(), arguments[1].c_str(), ranks,
              ranks > 1 ? " (sums are a stub of 8 us)" : "", backend.description().c_str(),
              static_cast<double>(bytes) / 1e9, seconds_since(begin));
  for (const std::int32_t count : stream_counts) {
    bench::DecodingStreams streams(model, count, position, kWindow);
    streams.time(1, 8);  // warms up: graphs are made
    const double seconds = streams.time(5, 20);
    std::printf(
        "  %2d streams at position %lld: %.3f ms a step, %.1f tokens/s a stream, %.0f tokens/s, weights read "
        "at %.0f GB/s\n",
        count, static_cast<long long>(position), seconds * 1e3, 1 / seconds, count / seconds,
        static_cast<double>(bytes) / seconds / 1e9);
    std::fflush(stdout);
  }
  const double seconds = bench::time_prefill(model, kPrefillRows, kPrefillRows, kWindow, 7);
  std::printf("  prefill of %lld tokens: %.2f ms, %.0f tokens/s; graphs launched %lld\n",
              static_cast<long long>(kPrefillRows), seconds * 1e3,
              static_cast<double>(kPrefillRows) / seconds, static_cast<long long>(backend.graphs_launched()));
  return 0;
}

}  // namespace sinkstream
