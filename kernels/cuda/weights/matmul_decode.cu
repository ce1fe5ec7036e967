// matmul for a few rows: all there is to it is to read the weight once, as fast as memory gives it.
//
// A block of 8 warps computes whole tiles of features; the warps of a tile have a chunk of the inputs each.
// Blocks stay and take one tile after the other, so that the weight streams through each warp's ring in
// shared memory without a gap, many copies ahead of the sums. The first are begun before the previous kernel
// has ended.
#include <algorithm>

#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/weights/matmul_kernels.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kMostBlocks = 2;  // of a multiprocessor
constexpr int kPartBytes = kTileTokens * kTileFeatures * static_cast<int>(sizeof(float));

// A warp's ring: kStages stages of kGroups records.
template <WeightFormat kFormat>
struct Ring {
  static constexpr int kGroups = kFormat == WeightFormat::bf16 ? 2 : 4;
  static constexpr int kStages = kFormat == WeightFormat::int4 ? 8 : 5;
  static constexpr int kStageBytes = kGroups * record_bytes(kFormat);
  static constexpr int kBytes = kStages * kStageBytes;
};

// Of a row of x in shared memory, [groups][t][2 halves][2] pairs: an odd multiple of 64, so that two rows'
// groups stand in different banks.
constexpr int x_row_bytes(int groups) {
  return (groups | 1) * 64;
}

// Each warp's ring, then x, then zeros that stand for the rows that aren't there, then two sets of the warps'
// parts of a tile.
constexpr int kZeroBytes = 64;
template <WeightFormat kFormat>
std::int64_t shared_bytes(const MatmulTask& task) {
  return std::int64_t{kWarps} * Ring<kFormat>::kBytes + task.rows * x_row_bytes(task.groups) + kZeroBytes +
         2 * kWarps * kPartBytes;
}

// Columns [first, first + 4) of a row as they stand in groups, rounded to bf16.
__device__ inline void store_columns(std::byte* x_row, int first, const float4& values) {
  const int half = first % kGroupInputs / 16, quarter = first % 16 / 8, pair = first % 8 / 2;
  auto* const group = reinterpret_cast<std::uint32_t*>(x_row + first / kGroupInputs * 64);
  group[pair * 4 + half * 2 + quarter] = pack_bf16(values.x, values.y);
  group[(pair + 1) * 4 + half * 2 + quarter] = pack_bf16(values.z, values.w);
}

// Rounds x to bf16 in shared memory.
__device__ inline void stage_x(const MatmulTask& task, std::byte* x_shared) {
  constexpr int kVector = 4;  // columns that are read at once
  constexpr int kAhead = 8;
  constexpr int kStep = kThreads * kVector;
  const int begin = static_cast<int>(threadIdx.x) * kVector;
  const int end = task.groups * kGroupInputs;
  const bool aligned = task.columns_before == 0 && task.in_features % kGroupInputs == 0 &&
                       reinterpret_cast<std::uintptr_t>(task.x) % 16 == 0;
  for (int row = 0; row < task.rows; ++row) {
    const float* const from = task.x + row * task.in_features;
    std::byte* const to = x_shared + row * x_row_bytes(task.groups);
    if (aligned) {
      for (int first = begin; first < end; first += kAhead * kStep) {
        float4 values[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          const int column = first + i * kStep;
          if (column < end) values[i] = *reinterpret_cast<const float4*>(from + column);
        }
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          const int column = first + i * kStep;
          if (column < end) store_columns(to, column, values[i]);
        }
      }
    } else {
      const auto at = [&](int position) {
        const std::int64_t column = position - task.columns_before;
        return column >= 0 && column < task.in_features ? from[column] : 0.0f;
      };
      for (int first = begin; first < end; first += kStep) {
        store_columns(to, first, float4{at(first), at(first + 1), at(first + 2), at(first + 3)});
      }
    }
  }
}

// sums += kCount records from a stage * their groups of x.
template <WeightFormat kFormat, int kCount>
__device__ inline void multiply_records(const std::byte* records, const std::byte* x_lane, int x_step,
                                        int lane, float (&sums)[1][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const uint4 pairs = *reinterpret_cast<const uint4*>(x_lane + i * x_step);
    const std::uint32_t x[1][4] = {{pairs.x, pairs.y, pairs.z, pairs.w}};
    float x_sums[1][2] = {};
    if constexpr (kFormat == WeightFormat::int4) sum_group(x[0], x_sums[0]);
    multiply_record<kFormat, 1>(records + i * record_bytes(kFormat), lane, x, x_sums, sums);
  }
}

// A warp's way through its chunk of all of its tiles, stage by stage.
struct Walk {
  const std::byte* next;  // the stage's records
  int group;              // of the stage's first, counted from the chunk's first
  int block_tile;
};

// A block computes kWarps / kChunks tiles at a time, a block tile.
template <WeightFormat kFormat, int kChunks>
__global__ void __launch_bounds__(kThreads, kMostBlocks) multiply_few_rows(MatmulTask task, int block_tiles) {
  using R = Ring<kFormat>;
  constexpr int kRecordBytes = record_bytes(kFormat);
  constexpr int kTiles = kWarps / kChunks;
  constexpr int kFeatures = kTiles * kTileFeatures;
  constexpr int kPart = kTileTokens * kTileFeatures;
  std::byte* const shared = dynamic_shared<std::byte>();
  std::byte* const x_shared = shared + kWarps * R::kBytes;
  std::byte* const zeros = x_shared + task.rows * x_row_bytes(task.groups);
  auto* const parts = reinterpret_cast<float*>(zeros + kZeroBytes);

  const int lane = lane_id();
  const int warp = warp_id();
  const int tiles = static_cast<int>(ceil_divide<std::int64_t>(task.out_features, kTileFeatures));
  const int begin = chunk_begin(task.groups, kChunks, warp % kChunks);
  const int groups = chunk_begin(task.groups, kChunks, warp % kChunks + 1) - begin;
  std::byte* const ring = shared + warp * R::kBytes;
  const SharedAddress ring_to = shared_address(ring + lane * 16);

  // Past the last tile the last one is computed again, and not written.
  const auto first_record = [&](int block_tile) {
    const int own = block_tile * kTiles + warp / kChunks;
    const int tile = own < tiles ? own : tiles - 1;
    return task.weight + (static_cast<std::int64_t>(tile) * task.groups + begin) * kRecordBytes + lane * 16;
  };
  Walk copied{first_record(static_cast<int>(blockIdx.x)), 0, static_cast<int>(blockIdx.x)};
  int copied_to = 0;
  const auto copy_stage = [&] {
    if (copied.block_tile < block_tiles) {
      const int left = groups - copied.group;
      const int bytes = (left < R::kGroups ? left : R::kGroups) * kRecordBytes;
      const SharedAddress to = ring_to + copied_to * R::kStageBytes;
#pragma unroll
      for (int first = 0; first < R::kStageBytes; first += kWarpSize * 16) {
        if (first + lane * 16 < bytes) copy_async_16(to + first, copied.next + first);
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

  allow_next_kernel();
  for (int i = 0; i < R::kStages - 1; ++i) copy_stage();
  wait_for_previous_kernel();  // for x and out; the weight was there before
  if (threadIdx.x < kZeroBytes / 4) reinterpret_cast<std::uint32_t*>(zeros)[threadIdx.x] = 0;
  stage_x(task, x_shared);
  __syncthreads();

  const bool has_token = lane / 4 < task.rows;
  const int x_step = has_token ? 64 : 0;
  const std::byte* const x_lane =
      (has_token ? x_shared + lane / 4 * x_row_bytes(task.groups) + begin * 64 : zeros) + lane % 4 * 16;
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
      slot = slot + 1 == R::kStages ? 0 : slot + 1;
      if (groups - group >= R::kGroups) {
        multiply_records<kFormat, R::kGroups>(stage, x_lane + group * x_step, x_step, lane, sums);
      } else {
        for (int i = 0; i < groups - group; ++i) {
          multiply_records<kFormat, 1>(stage + i * kRecordBytes, x_lane + (group + i) * x_step, x_step, lane,
                                       sums);
        }
      }
    }

    // Each warp's part, [token][feature]; the other set is still being read.
    float* const part = parts + (set * kWarps + warp) * kPart;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      part[(lane % 4 * 2 + i % 2) * kTileFeatures + lane / 4 + i / 2 * 8] = sums[0][i];
    __syncthreads();
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kFeatures * static_cast<int>(task.rows); i += kThreads) {
      const int row = i / kFeatures, own = i % kFeatures;
      const std::int64_t feature = static_cast<std::int64_t>(block_tile) * kFeatures + own;
      if (feature >= task.out_features) continue;
      const float* const from = parts + (set * kWarps + own / kTileFeatures * kChunks) * kPart +
                                row * kTileFeatures + own % kTileFeatures;
      float sum = 0;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) sum += from[c * kPart];
      task.out[row * task.out_features + feature] = sum + (task.bias == nullptr ? 0.0f : task.bias[feature]);
    }
    set = 1 - set;
  }
}

// What a block may have on every GPU since sm_80, and what the blocks of one multiprocessor share at least.
constexpr std::int64_t kMostShared = 160 * 1024;

template <WeightFormat kFormat, int kChunks>
void launch_decode(const Device& device, const MatmulTask& task) {
  const auto kernel = multiply_few_rows<kFormat, kChunks>;
  const auto bytes = static_cast<std::size_t>(shared_bytes<kFormat>(task));
  const std::int64_t block_tiles =
      ceil_divide<std::int64_t>(task.out_features, kWarps / kChunks * kTileFeatures);
  const auto blocks = std::min<std::int64_t>(block_tiles, kMostBlocks * device.multiprocessors);
  allow_shared(kernel, bytes);
  launch_early(device, kernel, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), bytes}, task,
               static_cast<int>(block_tiles));
}

template <WeightFormat kFormat>
void launch_chunks(const Device& device, const MatmulTask& task) {
  static_assert(kMostChunks == kWarps);
  switch (task.chunks) {
    case 1:
      return launch_decode<kFormat, 1>(device, task);
    case 2:
      return launch_decode<kFormat, 2>(device, task);
    case 4:
      return launch_decode<kFormat, 4>(device, task);
    default:
      return launch_decode<kFormat, 8>(device, task);
  }
}

}  // namespace

bool fits_decode(WeightFormat format, const MatmulTask& task) {
  std::int64_t bytes = 0;
  with_record_format(format, [&]<WeightFormat kFormat>() { bytes = shared_bytes<kFormat>(task); });
  return bytes <= kMostShared;
}

void matmul_decode(const Device& device, WeightFormat format, const MatmulTask& task) {
  with_record_format(format, [&]<WeightFormat kFormat>() { launch_chunks<kFormat>(device, task); });
}

}  // namespace sinkstream::kernels::cuda
