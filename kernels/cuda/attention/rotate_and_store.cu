// Rotates queries and keys by their positions, and writes keys and values into the cache.
#include "kernels/cache_layout.h"
#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/ptx.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = 256;

struct RotateTask {
  const float* qkv;
  const float* true_cosines;
  const float* true_sines;
  const float* cache_cosines;
  const float* cache_sines;
  const AttentionRow* rows;
  float* window_queries;
  float* sink_queries;
  CacheLayerView cache;
  int heads;
  int kv_heads;
  int half;

  __device__ int head_dim() const { return cache.head_dim; }
};

// kWidth neighbours.
template <int kWidth>
struct alignas(kWidth * sizeof(float)) Numbers {
  float x[kWidth];
};

template <int kWidth>
__device__ Numbers<kWidth> read(const float* from) {
  return *reinterpret_cast<const Numbers<kWidth>*>(from);
}

template <int kWidth>
__device__ void write(const Numbers<kWidth>& numbers, float* to) {
  *reinterpret_cast<Numbers<kWidth>*>(to) = numbers;
}

template <int kWidth>
__device__ void write_to_ring(const Numbers<kWidth>& numbers, CacheType ring_type, Address ring,
                              std::int64_t at) {
  if (ring_type == CacheType::f32) {
    write(numbers, device_pointer<float>(ring) + at);
  } else if constexpr (kWidth == 1) {
    device_pointer<bfloat16>(ring)[at] = to_bfloat16(numbers.x[0]);
  } else {
    *reinterpret_cast<uint2*>(device_pointer<bfloat16>(ring) + at) =
        make_uint2(pack_bf16(numbers.x[0], numbers.x[1]), pack_bf16(numbers.x[2], numbers.x[3]));
  }
}

// Two numbers that turn together.
template <int kWidth>
struct Pair {
  Numbers<kWidth> first, second;
};

template <int kWidth>
__device__ Pair<kWidth> turned(const Pair<kWidth>& pair, const float* cosines, const float* sines) {
  const Numbers<kWidth> cosine = read<kWidth>(cosines);
  const Numbers<kWidth> sine = read<kWidth>(sines);
  Pair<kWidth> result;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    const float first = pair.first.x[k];
    const float second = pair.second.x[k];
    result.first.x[k] = __fmaf_rn(first, cosine.x[k], -__fmul_rn(second, sine.x[k]));
    result.second.x[k] = __fmaf_rn(second, cosine.x[k], __fmul_rn(first, sine.x[k]));
  }
  return result;
}

// Numbers from dimension i on of a row's KV head.
template <int kWidth>
__device__ void store(const RotateTask& task, const AttentionRow& row, const CachePlane& plane, int i,
                      const Numbers<kWidth>& key, const Numbers<kWidth>& value) {
  const CacheLayerView& cache = task.cache;
  const std::int64_t in_ring = ring_offset(cache, row.position) + i;
  write_to_ring(key, cache.ring_type, plane.ring_keys, in_ring);
  write_to_ring(value, cache.ring_type, plane.ring_values, in_ring);
  if (row.position >= cache.sink_capacity) return;
  const std::int64_t in_sinks = sink_offset(cache, row.position) + i;
  write(key, device_pointer<float>(plane.sink_keys) + in_sinks);
  write(value, device_pointer<float>(plane.sink_values) + in_sinks);
}

// Blocks: rows, parts of a row. A thread has kWidth numbers of a head's first half and those that turn with
// them, or kWidth of those that don't turn.
template <int kWidth>
__global__ void __launch_bounds__(kThreads) rotate(RotateTask task) {
  begin_after_previous();
  const int head_dim = task.head_dim();
  const int turning = task.half / kWidth;  // threads of a head
  const int threads_of_head = turning + (head_dim - 2 * task.half) / kWidth;
  const int thread = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  const int head = thread / threads_of_head;
  if (head >= task.heads + task.kv_heads) return;
  const int of_head = thread % threads_of_head;
  const bool turns = of_head < turning;
  const int i = (turns ? of_head : of_head + turning) * kWidth;  // the first dimension
  const int other = turns ? i + task.half : i;

  const std::int64_t r = blockIdx.x;
  const std::int64_t width = std::int64_t{task.heads + 2 * task.kv_heads} * head_dim;
  const float* const from = task.qkv + r * width + std::int64_t{head} * head_dim;
  const Pair<kWidth> pair{read<kWidth>(from + i), read<kWidth>(from + other)};
  const std::int64_t angle = r * task.half + i;
  const auto turn = [&](const float* cosines, const float* sines) {
    return turns ? turned(pair, cosines + angle, sines + angle) : pair;
  };
  const Pair<kWidth> in_window = turn(task.true_cosines, task.true_sines);
  if (head < task.heads) {
    const Pair<kWidth> in_sinks = turn(task.cache_cosines, task.cache_sines);
    const std::int64_t at = (r * task.heads + head) * head_dim;
    write(in_window.first, task.window_queries + at + i);
    write(in_sinks.first, task.sink_queries + at + i);
    if (!turns) return;
    write(in_window.second, task.window_queries + at + other);
    write(in_sinks.second, task.sink_queries + at + other);
    return;
  }
  const AttentionRow& row = task.rows[r];
  const float* const values = from + std::int64_t{task.kv_heads} * head_dim;
  const CachePlane plane = cache_plane(task.cache, row.slot, head - task.heads);
  store(task, row, plane, i, in_window.first, read<kWidth>(values + i));
  if (turns) store(task, row, plane, other, in_window.second, read<kWidth>(values + other));
}

}  // namespace

void rotate_and_store(const Device& device, ConstMatrix qkv, const RotaryAngles& angles,
                      DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                      const CacheLayerView& cache, Matrix window_queries, Matrix sink_queries) {
  if (rows.empty()) return;
  const auto half = static_cast<int>(angles.true_cosines.cols);
  const RotateTask task{.qkv = device_pointer<const float>(qkv.data),
                        .true_cosines = device_pointer<const float>(angles.true_cosines.data),
                        .true_sines = device_pointer<const float>(angles.true_sines.data),
                        .cache_cosines = device_pointer<const float>(angles.cache_cosines.data),
                        .cache_sines = device_pointer<const float>(angles.cache_sines.data),
                        .rows = device_pointer<const AttentionRow>(rows.data),
                        .window_queries = device_pointer<float>(window_queries.data),
                        .sink_queries = device_pointer<float>(sink_queries.data),
                        .cache = cache,
                        .heads = shard.local_heads,
                        .kv_heads = shard.local_kv_heads,
                        .half = half};
  const int width = half % 4 == 0 && cache.head_dim % 4 == 0 ? 4 : 1;
  const int threads = (shard.local_heads + shard.local_kv_heads) * ((cache.head_dim - half) / width);
  const LaunchShape shape{
      dim3(static_cast<unsigned>(rows.size), static_cast<unsigned>(ceil_divide(threads, kThreads))),
      dim3(kThreads)};
  launch_early(device, width == 4 ? rotate<4> : rotate<1>, shape, task);
}

}  // namespace sinkstream::kernels::cuda
