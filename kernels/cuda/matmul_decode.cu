// matmul for a few rows: all there is to it is to read the weight once, as fast as memory gives it.
//
// A block of 8 warps computes whole tiles of features; the warps of a tile have a chunk of the inputs each. Blocks stay
// and take one tile after the other, so that the weight streams through each warp's ring in shared memory without a
// gap, many copies ahead of the sums.
#include <algorithm>

#include "kernels/cuda/matmul_kernels.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kPartBytes = kTileTokens * kTileFeatures * static_cast<int>(sizeof(float));
constexpr int kVector = 4;  // columns of x that are read at once

// A warp's ring: kStages stages of kGroups records.
template <WeightFormat kFormat>
struct Ring {
  static constexpr int kGroups = kFormat == WeightFormat::bf16 ? 2 : 4;
  static constexpr int kStages = kFormat == WeightFormat::int4 ? 8 : 5;
  static constexpr int kStageBytes = kGroups * record_bytes(kFormat);
  static constexpr int kBytes = kStages * kStageBytes;
};

// Of a row of x in shared memory, [groups][t][2 halves][2] pairs: an odd multiple of 64, so that two rows' groups stand
// in different banks.
constexpr int x_row_bytes(int groups) {
  return (groups | 1) * 64;
}

// Ring of each warp, then x, then two sets of the warps' parts of a tile.
template <WeightFormat kFormat>
std::int64_t shared_bytes(const MatmulTask& task) {
  return std::int64_t{kWarps} * Ring<kFormat>::kBytes + task.rows * x_row_bytes(task.groups) +
         2 * kWarps * kPartBytes;
}

// Columns [first, first + 4) of a row as they stand in groups; zero where there is none.
__device__ inline float4 load_columns(const MatmulTask& task, std::int64_t row, std::int64_t first, bool aligned) {
  const float* const from = task.x + row * task.in_features;
  const std::int64_t column = first - task.columns_before;
  if (aligned && column + kVector <= task.in_features) return *reinterpret_cast<const float4*>(from + column);
  const auto at = [&](std::int64_t c) { return c >= 0 && c < task.in_features ? from[c] : 0.0f; };
  return {at(column), at(column + 1), at(column + 2), at(column + 3)};
}

// Rounds x to bf16 in shared memory.
__device__ inline void stage_x(const MatmulTask& task, std::byte* x_shared) {
  constexpr int kAhead = 4;
  const bool aligned = task.columns_before == 0 && task.in_features % kVector == 0 &&
                       reinterpret_cast<std::uintptr_t>(task.x) % 16 == 0;
  const int vectors_of_row = task.groups * (kGroupInputs / kVector);
  const int vectors = static_cast<int>(task.rows) * vectors_of_row;
  for (int begin = static_cast<int>(threadIdx.x); begin < vectors; begin += kAhead * kThreads) {
    float4 values[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int vector = begin + i * kThreads;
      if (vector < vectors) {
        values[i] = load_columns(task, vector / vectors_of_row, vector % vectors_of_row * kVector, aligned);
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int vector = begin + i * kThreads;
      if (vector >= vectors) continue;
      const int row = vector / vectors_of_row;
      const int position = vector % vectors_of_row * kVector;
      const int half = position % kGroupInputs / 16, quarter = position % 16 / 8, pair = position % 8 / 2;
      auto* const group = reinterpret_cast<std::uint32_t*>(x_shared + row * x_row_bytes(task.groups) +
                                                           position / kGroupInputs * 64);
      group[pair * 4 + half * 2 + quarter] = pack_bf16(values[i].x, values[i].y);
      group[(pair + 1) * 4 + half * 2 + quarter] = pack_bf16(values[i].z, values[i].w);
    }
  }
}

// A warp's way through its chunk of all of its tiles, stage by stage.
struct Walk {
  const std::byte* next;  // the stage's records
  int group;              // of the stage's first, counted from the chunk's first
  int block_tile;         // which of the blocks' turns
};

template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads) multiply_few_rows(MatmulTask task, int block_tiles) {
  using R = Ring<kFormat>;
  constexpr int kRecordBytes = record_bytes(kFormat);
  std::byte* const shared = dynamic_shared<std::byte>();
  std::byte* const x_shared = shared + kWarps * R::kBytes;
  auto* const parts = reinterpret_cast<float*>(x_shared + task.rows * x_row_bytes(task.groups));

  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int chunk = warp % task.chunks;
  const int tiles_of_block = kWarps / task.chunks;
  const int tiles = static_cast<int>(ceil_divide<std::int64_t>(task.out_features, kTileFeatures));
  const int begin = chunk_begin(task.groups, task.chunks, chunk);
  const int groups = chunk_begin(task.groups, task.chunks, chunk + 1) - begin;
  std::byte* const ring = shared + warp * R::kBytes;

  // Past the last tile the last one is computed again, and not written.
  const auto first_record = [&](int block_tile) {
    const int own = block_tile * tiles_of_block + warp / task.chunks;
    const int tile = own < tiles ? own : tiles - 1;
    return task.weight + (static_cast<std::int64_t>(tile) * task.groups + begin) * kRecordBytes;
  };

  Walk copied{first_record(static_cast<int>(blockIdx.x)), 0, static_cast<int>(blockIdx.x)};
  int copied_to = 0;
  const auto copy_stage = [&] {
    if (copied.block_tile < block_tiles) {
      const int left = groups - copied.group;
      const int pieces = (left < R::kGroups ? left : R::kGroups) * (kRecordBytes / 16);
      std::byte* const to = ring + copied_to * R::kStageBytes;
#pragma unroll
      for (int i = 0; i < ceil_divide(R::kStageBytes / 16, kWarpSize); ++i) {
        const int piece = i * kWarpSize + lane;
        if (piece < pieces) copy_async_16(to + piece * 16, copied.next + piece * 16);
      }
      copied.next += R::kStageBytes;
      copied.group += R::kGroups;
      if (copied.group >= groups) {
        copied.block_tile += static_cast<int>(gridDim.x);
        copied.group = 0;
        copied.next = first_record(copied.block_tile);
      }
      copied_to = copied_to + 1 == R::kStages ? 0 : copied_to + 1;
    }
    commit_copies();
  };

  for (int i = 0; i < R::kStages - 1; ++i) copy_stage();
  stage_x(task, x_shared);
  __syncthreads();

  const int token = lane / 4;
  const bool has_token = token < task.rows;
  const std::byte* const x_lane = x_shared + token * x_row_bytes(task.groups) + begin * 64 + lane % 4 * 16;
  int slot = 0;
  int set = 0;
  for (int block_tile = static_cast<int>(blockIdx.x); block_tile < block_tiles;
       block_tile += static_cast<int>(gridDim.x)) {
    float sums[1][4] = {};
    for (int group = 0; group < groups; group += R::kGroups) {
      wait_for_copies<R::kStages - 2>();
      __syncwarp();  // all lanes' copies are there, and all have read the stage that is overwritten next
      copy_stage();
      const std::byte* const stage = ring + slot * R::kStageBytes;
#pragma unroll
      for (int i = 0; i < R::kGroups; ++i) {
        if (group + i >= groups) break;
        const uint4 pairs = has_token ? *reinterpret_cast<const uint4*>(x_lane + (group + i) * 64) : uint4{0, 0, 0, 0};
        const std::uint32_t x[1][4] = {{pairs.x, pairs.y, pairs.z, pairs.w}};
        float x_sums[1][2] = {};
        if constexpr (kFormat == WeightFormat::int4) sum_group(x[0], x_sums[0]);
        multiply_record<kFormat, 1>(stage + i * kRecordBytes, lane, x, x_sums, sums);
      }
      slot = slot + 1 == R::kStages ? 0 : slot + 1;
    }

    // Each warp's part, [token][feature]; the other set is still being read.
    float* const part = parts + (set * kWarps + warp) * (kTileTokens * kTileFeatures);
    for (int i = 0; i < 4; ++i) part[(lane % 4 * 2 + i % 2) * kTileFeatures + lane / 4 + i / 2 * 8] = sums[0][i];
    __syncthreads();
    const int features = tiles_of_block * kTileFeatures;
    for (int i = static_cast<int>(threadIdx.x); i < features * static_cast<int>(task.rows); i += kThreads) {
      const int row = i / features, own = i % features;
      const std::int64_t feature = static_cast<std::int64_t>(block_tile) * features + own;
      if (feature >= task.out_features) continue;
      const float* const from = parts +
                                (set * kWarps + own / kTileFeatures * task.chunks) * (kTileTokens * kTileFeatures) +
                                row * kTileFeatures + own % kTileFeatures;
      float sum = from[0];
      for (int c = 1; c < task.chunks; ++c) sum += from[c * (kTileTokens * kTileFeatures)];
      task.out[row * task.out_features + feature] = sum + (task.bias == nullptr ? 0.0f : task.bias[feature]);
    }
    set = 1 - set;
  }
}

// What a block may have on every GPU since sm_80, and what the blocks of one multiprocessor share at least.
constexpr std::int64_t kMostShared = 160 * 1024;

template <WeightFormat kFormat>
void launch_decode(const Device& device, const MatmulTask& task) {
  constexpr std::int64_t kMostBlocks = 2;  // of a multiprocessor
  const auto bytes = static_cast<std::size_t>(shared_bytes<kFormat>(task));
  const std::int64_t tiles = ceil_divide<std::int64_t>(task.out_features, kTileFeatures);
  const std::int64_t block_tiles = ceil_divide<std::int64_t>(tiles, kWarps / task.chunks);
  const auto blocks = std::min(block_tiles, kMostBlocks * device.multiprocessors);
  allow_shared(multiply_few_rows<kFormat>, bytes);
  launch(multiply_few_rows<kFormat>, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), bytes}, device.stream, task,
         static_cast<int>(block_tiles));
}

}  // namespace

bool fits_decode(WeightFormat format, const MatmulTask& task) {
  std::int64_t bytes = 0;
  with_record_format(format, [&]<WeightFormat kFormat>() { bytes = shared_bytes<kFormat>(task); });
  return bytes <= kMostShared;
}

void matmul_decode(const Device& device, WeightFormat format, const MatmulTask& task) {
  with_record_format(format, [&]<WeightFormat kFormat>() { launch_decode<kFormat>(device, task); });
}

}  // namespace sinkstream::kernels::cuda
