// Times of attention, as one of a model's layers takes it: decoding by the bandwidth that it reaches, beside
// that of a copy; chunks of prompts by their operations. Caches are larger than the GPU's own and change from
// call to call, calls are replayed from a graph.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <vector>

#include "kernels/cache_layout.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/ptx.h"
#include "tests/gpus/benches.h"
#include "tests/gpus/copy_rate.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kHeadDim = 128;
constexpr std::int64_t kSinks = 4;
constexpr std::int64_t kSlack = 2048;
constexpr std::int64_t kPosition = 1'000'000;  // of the last row
constexpr std::int64_t kMostCacheBytes = std::int64_t{26} << 30;
constexpr std::int64_t kFewestCacheBytes = std::int64_t{1} << 30;  // over all layers
constexpr int kMostLayers = 64;

// Numbers in [-1, 1), a float or two bf16 a word.
__global__ void write_numbers(std::uint32_t* words, std::int64_t count, bool bf16) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    auto bits = static_cast<std::uint32_t>(i) * 2654435761u;
    bits = (bits ^ bits >> 15) * 2246822519u;
    bits ^= bits >> 13;
    const float low = static_cast<float>(bits & 0xffff) / 32768.0f - 1.0f;
    const float high = static_cast<float>(bits >> 16) / 32768.0f - 1.0f;
    words[i] = bf16 ? pack_bf16(low, high) : __float_as_uint(low);
  }
}

class DeviceMemory {
 public:
  explicit DeviceMemory(std::int64_t bytes) {
    check(cudaMalloc(&memory_, static_cast<std::size_t>(bytes)), "memory");
  }
  ~DeviceMemory() { cudaFree(memory_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* get() const { return memory_; }
  Address address() const { return Address{reinterpret_cast<std::uintptr_t>(memory_)}; }

 private:
  void* memory_ = nullptr;
};

void fill(Address at, std::int64_t bytes, bool bf16, cudaStream_t stream) {
  launch(write_numbers, {dim3(2048), dim3(256)}, stream, device_pointer<std::uint32_t>(at), bytes / 4, bf16);
}

// Milliseconds of what `queue` queues, the median of some.
double milliseconds(cudaStream_t stream, const std::function<void()>& queue) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "a capture");
  queue();
  check(cudaStreamEndCapture(stream, &graph), "a capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "a graph");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "an event");
  check(cudaEventCreate(&end), "an event");
  std::vector<float> times;
  for (int i = 0; i < 6; ++i) {
    check(cudaEventRecord(begin, stream), "an event");
    check(cudaGraphLaunch(exec, stream), "a graph");
    check(cudaEventRecord(end, stream), "an event");
    check(cudaEventSynchronize(end), "a graph");
    float time = 0;
    check(cudaEventElapsedTime(&time, begin, end), "a time");
    if (i > 0) times.push_back(time);  // the first warms up
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  return times[times.size() / 2];
}

struct Case {
  int heads;
  int kv_heads;
  CacheType ring_type;
  std::int64_t window;
  int slots;
  int rows_of_slot;
};

class Bench {
 public:
  Bench()
      : cache_(kMostCacheBytes),
        workspace_(kWorkspaceBytes),
        activations_(3 * kActivationBytes),
        rows_(kRowsBytes) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "the device");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
    device_.stream = stream_;
    device_.multiprocessors = properties.multiProcessorCount;
    device_.workspace = workspace_.address();
    device_.workspace_bytes = kWorkspaceBytes;
    fill(activations_.address(), 3 * kActivationBytes, false, stream_);
    copy_ = copy_rate();
    std::printf("%s: a copy of 4 GiB moves %.0f GB/s, read and written\n", properties.name, copy_);
  }

  // Microseconds of a call, or less than 0 when the case is too large.
  double microseconds(const Case& which) {
    CacheLayerView cache{.ring_type = which.ring_type,
                         .num_slots = which.slots,
                         .local_kv_heads = which.kv_heads,
                         .sink_capacity = kSinks,
                         .ring_capacity = which.window + kSlack,
                         .head_dim = kHeadDim};
    const std::int64_t sink_array_bytes = sink_bytes(cache, which.kv_heads * kSinks);
    const std::int64_t ring_array_bytes = ring_bytes(cache, which.kv_heads * cache.ring_capacity);
    const std::int64_t layer_bytes = 2 * (sink_array_bytes + ring_array_bytes);  // of a slot
    const std::int64_t all_slots = which.slots * layer_bytes;
    if (all_slots > kMostCacheBytes) return -1;
    const auto layers =
        static_cast<int>(std::clamp<std::int64_t>(kFewestCacheBytes / all_slots, 1, kMostLayers));
    cache.slot_stride_bytes = layers * layer_bytes;
    fill(cache_.address(), layers * all_slots, which.ring_type == CacheType::bf16, stream_);

    std::vector<AttentionRow> rows;
    for (int slot = 0; slot < which.slots; ++slot) {
      for (int r = which.rows_of_slot - 1; r >= 0; --r) {
        const std::int64_t position = kPosition - r;
        rows.push_back({slot, position, position - which.window + 1, kSinks});
      }
    }
    const auto count = static_cast<std::int64_t>(rows.size());
    check(cudaMemcpy(rows_.get(), rows.data(), rows.size() * sizeof(AttentionRow), cudaMemcpyHostToDevice),
          "rows");
    const auto matrix = [&](int i) {
      return Matrix{activations_.address() + i * kActivationBytes, count,
                    std::int64_t{which.heads} * kHeadDim};
    };
    const HeadShard shard{.local_heads = which.heads,
                          .group_size = which.heads / which.kv_heads,
                          .local_kv_heads = which.kv_heads};
    const double all = milliseconds(stream_, [&] {
      for (int layer = 0; layer < layers; ++layer) {
        const Address at = cache_.address() + layer * layer_bytes;
        cache.sink_keys = at;
        cache.sink_values = at + sink_array_bytes;
        cache.ring_keys = at + 2 * sink_array_bytes;
        cache.ring_values = at + (2 * sink_array_bytes + ring_array_bytes);
        attention(device_, {rows_.address(), count}, matrix(0), matrix(1), cache, shard,
                  1.0f / std::sqrt(static_cast<float>(kHeadDim)), {}, matrix(2));
      }
    });
    return 1e3 * all / layers;
  }

  double copy() const { return copy_; }

 private:
  static constexpr std::int64_t kWorkspaceBytes = 128 << 20;
  static constexpr std::int64_t kActivationBytes = std::int64_t{4096} * 32 * kHeadDim * 4;
  static constexpr std::int64_t kRowsBytes = 4096 * std::int64_t{sizeof(AttentionRow)};

  DeviceMemory cache_, workspace_, activations_, rows_;
  cudaStream_t stream_ = nullptr;
  Device device_;
  double copy_ = 0;
};

void run() {
  Bench bench;
  const auto name = [](CacheType type) { return type == CacheType::f32 ? "f32 " : "bf16"; };
  std::printf("\ndecoding, heads of %d\nheads  ring  window  batch         us     GB/s  of the copy's\n",
              kHeadDim);
  for (const auto& [heads, kv_heads] : {std::pair(32, 8), std::pair(32, 32), std::pair(8, 1)}) {
    for (const CacheType type : {CacheType::bf16, CacheType::f32}) {
      for (const int window : {1024, 4096, 32768}) {
        for (const int batch : {1, 16, 64}) {
          const double us = bench.microseconds({heads, kv_heads, type, window, batch, 1});
          if (us < 0) continue;
          const double bytes =
              2.0 * batch * kv_heads * kHeadDim * (window * (type == CacheType::f32 ? 4.0 : 2.0) + 4.0 * kSinks);
          const double rate = bytes / us / 1e3;
          std::printf("%2d/%-2d  %s  %6d  %5d  %9.1f  %7.0f  %5.1f %%\n", heads, kv_heads, name(type),
                      window, batch, us, rate, 100 * rate / bench.copy());
        }
      }
    }
  }
  std::printf("\nchunks of a prompt\nheads  ring  window   rows         us  TFLOP/s (of the definition)\n");
  for (const auto& [heads, kv_heads] : {std::pair(32, 8), std::pair(32, 32)}) {
    for (const CacheType type : {CacheType::bf16, CacheType::f32}) {
      for (const int rows : {512, 2048}) {
        constexpr int kWindow = 4096;
        const double us = bench.microseconds({heads, kv_heads, type, kWindow, 1, rows});
        std::printf("%2d/%-2d  %s  %6d  %5d  %9.1f  %7.1f\n", heads, kv_heads, name(type), kWindow, rows, us,
                    4.0 * kHeadDim * heads * rows * (kWindow + kSinks) / us / 1e6);
      }
    }
  }
}

}  // namespace
}  // namespace sinkstream::kernels::cuda

int sinkstream::bench_attention(std::span<const std::string>) {
  kernels::cuda::run();
  return 0;
}
