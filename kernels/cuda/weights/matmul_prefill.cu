// matmul for many rows. x is rounded to bf16 once, in the order in which tensor cores take it; then each
// block computes a tile of features and tokens. Where there are too few tiles for the GPU, blocks compute one
// chunk of the inputs each, and a last kernel adds the chunks.
#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/weights/matmul_kernels.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;

// ---- x
// Like a weight's: [token tiles][groups] records of 8 tokens x 32 inputs
//   values    bf16 [lane][half][2 pairs]: operands b of mma_bf16
//   sums      [8] float32, of each token's inputs; for int4 only
constexpr int kXValueBytes = 512;
constexpr int x_record_bytes(WeightFormat format) {
  return kXValueBytes + (format == WeightFormat::int4 ? kTileTokens * 4 : 0);
}

// One warp a record.
template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads) make_x_records(MatmulTask task, std::byte* records) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int lane = lane_id();
  const std::int64_t index = std::int64_t{blockIdx.x} * kWarps + warp_id();
  const std::int64_t tile = index / task.groups;
  if (tile >= ceil_divide<std::int64_t>(task.rows, kTileTokens)) return;  // the whole warp
  const std::int64_t row = tile * kTileTokens + lane / 4;
  const std::int64_t first = index % task.groups * kGroupInputs - task.columns_before + lane % 4 * 2;
  const float* const from = task.x + row * task.in_features;
  const auto at = [&](std::int64_t column) {
    return row < task.rows && column >= 0 && column < task.in_features ? from[column] : 0.0f;
  };
  std::uint32_t x[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = pack_bf16(at(first + i * 8), at(first + i * 8 + 1));
  std::byte* const record = records + index * x_record_bytes(kFormat);
  reinterpret_cast<uint4*>(record)[lane] = uint4{x[0], x[1], x[2], x[3]};
  if constexpr (kFormat == WeightFormat::int4) {
    float sums[2];
    sum_group(x, sums);
    if (lane < 4) reinterpret_cast<float2*>(record + kXValueBytes)[lane] = float2{sums[0], sums[1]};
  }
}

// ---- Tiles
struct TileTask {
  MatmulTask matmul;
  const std::byte* x_records;
  float* out;           // [rows, out_features], or of each chunk: [chunks, rows, out_features]
  int chunks_of_block;  // one, or all
};

// The shape of a block: kWarpsM x kWarpsN warps, each of which computes kFeatureTiles x kTokenTiles tiles of
// mma_bf16; and how many blocks are to share a multiprocessor.
template <int kWarpsM, int kWarpsN, int kFeatureTiles, int kTokenTiles, int kMultiprocessorBlocks>
struct Shape {
  static constexpr int kM = kWarpsM;
  static constexpr int kWarps = kWarpsM * kWarpsN;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kBlocks = kMultiprocessorBlocks;
  static constexpr int kWarpFeatureTiles = kFeatureTiles;
  static constexpr int kWarpTokenTiles = kTokenTiles;
  static constexpr int kFeatureTilesOfBlock = kWarpsM * kFeatureTiles;
  static constexpr int kTokenTilesOfBlock = kWarpsN * kTokenTiles;
  static constexpr bool kIsLarge = kTokenTilesOfBlock > 8;
  // Where the sums of a chunk are all that registers have room for, those of all chunks are in shared memory.
  static constexpr bool kTotalsAreShared = kFeatureTiles * kTokenTiles > 16;
  static constexpr int kTotalBytes = kTotalsAreShared ? kFeatureTiles * kTokenTiles * 4 * 4 * kThreads : 0;
};

// For up to so many tiles of 8 rows, where speed is that of memory.
template <int kTokenTiles>
using FewRows = Shape < 8,
      1, 1, kTokenTiles, kTokenTiles<8 ? 2 : 1>;

// Tiles of a warp as large as registers allow: the larger, the less is read from shared memory, which is what
// bounds bf16. Where values are turned into bf16 first, instructions bound it, and need registers.
template <WeightFormat kFormat>
using ManyRows =
    std::conditional_t<kFormat == WeightFormat::bf16, Shape<2, 2, 4, 8, 2>, Shape<2, 4, 4, 4, 1>>;

template <WeightFormat kFormat, typename S>
struct Stages {
  // A stage: weights, then x, kGroups records of each tile.
  static constexpr int kGroups = S::kTotalsAreShared ? 1 : 2;
  static constexpr int kWeightBytes = kGroups * record_bytes(kFormat);
  static constexpr int kXBytes = kGroups * x_record_bytes(kFormat);
  static constexpr int kXOffset = S::kFeatureTilesOfBlock * kWeightBytes;
  static constexpr int kBytes = kXOffset + S::kTokenTilesOfBlock * kXBytes;
  // What a multiprocessor has since sm_90, and what a block may have since sm_80.
  static constexpr int kMostBytes = (S::kBlocks == 1 ? 160 : 112) * 1024 - S::kTotalBytes;
  static constexpr int kCount = std::clamp(kMostBytes / kBytes, 3, 8);
  static constexpr int kAllBytes = kCount * kBytes;
};

// Copies the first `bytes` of a run of kBytes with a warp.
template <int kBytes>
__device__ inline void copy_run(SharedAddress to, const std::byte* from, int lane, int bytes) {
  constexpr int kStep = kWarpSize * 16;
#pragma unroll
  for (int first = 0; first < kBytes; first += kStep) {
    if (first + lane * 16 < bytes) copy_async_16(to + lane * 16 + first, from + lane * 16 + first);
  }
}

// sums += the first kGroups groups of a stage of kStageGroups, of a warp's tiles.
template <WeightFormat kFormat, int kStageGroups, int kGroups, int kFeatureTiles, int kTokenTiles>
__device__ inline void multiply_groups(const std::byte* weights, const std::byte* x_records, int lane,
                                       float (&sums)[kFeatureTiles][kTokenTiles][4]) {
  // Where values are turned into bf16 as well, registers are short for two groups at a time.
  [[maybe_unused]] constexpr int kUnrolled = kFormat == WeightFormat::bf16 ? kGroups : 1;
#pragma unroll kUnrolled
  for (int group = 0; group < kGroups; ++group) {
    std::uint32_t x[kTokenTiles][4];
    float x_sums[kTokenTiles][2] = {};
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      const std::byte* const record = x_records + (n * kStageGroups + group) * x_record_bytes(kFormat);
      const uint4 pairs = reinterpret_cast<const uint4*>(record)[lane];
      x[n][0] = pairs.x;
      x[n][1] = pairs.y;
      x[n][2] = pairs.z;
      x[n][3] = pairs.w;
      if constexpr (kFormat == WeightFormat::int4) {
        const float2 two = reinterpret_cast<const float2*>(record + kXValueBytes)[lane % 4];
        x_sums[n][0] = two.x;
        x_sums[n][1] = two.y;
      }
    }
#pragma unroll
    for (int m = 0; m < kFeatureTiles; ++m) {
      multiply_record<kFormat, kTokenTiles>(weights + (m * kStageGroups + group) * record_bytes(kFormat),
                                            lane, x, x_sums, sums[m]);
    }
  }
}

// totals += sums. Totals in shared memory are there between the first chunk and the last.
template <bool kTotalsAreShared, int kFeatureTiles, int kTokenTiles>
__device__ inline void add_chunk(const float (&sums)[kFeatureTiles][kTokenTiles][4], bool is_first,
                                 bool is_last, float4* shared_totals, int stride,
                                 float (&totals)[kFeatureTiles][kTokenTiles][4]) {
#pragma unroll
  for (int m = 0; m < kFeatureTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      float4* const at = shared_totals + (m * kTokenTiles + n) * stride;
      if constexpr (kTotalsAreShared) {
        const float4 before = is_first ? float4{0, 0, 0, 0} : *at;
        totals[m][n][0] = before.x;
        totals[m][n][1] = before.y;
        totals[m][n][2] = before.z;
        totals[m][n][3] = before.w;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) totals[m][n][i] += sums[m][n][i];
      if constexpr (kTotalsAreShared) {
        if (!is_last) *at = float4{totals[m][n][0], totals[m][n][1], totals[m][n][2], totals[m][n][3]};
      }
    }
  }
}

template <WeightFormat kFormat, typename S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) multiply_tile(TileTask task) {
  using T = Stages<kFormat, S>;
  constexpr int kRecordBytes = record_bytes(kFormat);
  constexpr int kXRecordBytes = x_record_bytes(kFormat);
  const MatmulTask& matmul = task.matmul;
  std::byte* const shared = dynamic_shared<std::byte>();
  const SharedAddress shared_to = shared_address(shared);
  auto* const shared_totals = reinterpret_cast<float4*>(shared + T::kAllBytes) + threadIdx.x;
  const int lane = lane_id();
  const int warp = warp_id();
  const int first_token_tile = static_cast<int>(blockIdx.x) * S::kTokenTilesOfBlock;
  const int first_feature_tile = static_cast<int>(blockIdx.y) * S::kFeatureTilesOfBlock;
  const int first_chunk = static_cast<int>(blockIdx.z) * task.chunks_of_block;
  const int end_chunk = first_chunk + task.chunks_of_block;
  const int begin = chunk_begin(matmul.groups, matmul.chunks, first_chunk);
  const int end = chunk_begin(matmul.groups, matmul.chunks, end_chunk);

  // Of each kWarps tiles a warp copies one. Past the last tile it is the last one again, whose results are
  // not written.
  const auto tile_records = [&](const std::byte* records, int tile, std::int64_t size, int tile_size,
                                int bytes) {
    const auto last = static_cast<int>((size - 1) / tile_size);
    return records + (static_cast<std::int64_t>(tile < last ? tile : last) * matmul.groups + begin) * bytes;
  };
  constexpr int kWeightRuns = ceil_divide(S::kFeatureTilesOfBlock, S::kWarps);
  constexpr int kXRuns = ceil_divide(S::kTokenTilesOfBlock, S::kWarps);
  const std::byte* weight_from[kWeightRuns];
  const std::byte* x_from[kXRuns];
#pragma unroll
  for (int i = 0; i < kWeightRuns; ++i) {
    weight_from[i] = tile_records(matmul.weight, first_feature_tile + i * S::kWarps + warp,
                                  matmul.out_features, kTileFeatures, kRecordBytes);
  }
#pragma unroll
  for (int i = 0; i < kXRuns; ++i) {
    x_from[i] = tile_records(task.x_records, first_token_tile + i * S::kWarps + warp, matmul.rows,
                             kTileTokens, kXRecordBytes);
  }
  const auto bytes_of = [&](int group, int record) {
    return (end - group < T::kGroups ? 1 : T::kGroups) * record;
  };
  const auto copy_weights = [&](int group, SharedAddress to) {
    if (group >= end) return;
#pragma unroll
    for (int i = 0; i < kWeightRuns; ++i) {
      copy_run<T::kWeightBytes>(to + (i * S::kWarps + warp) * T::kWeightBytes, weight_from[i], lane,
                                bytes_of(group, kRecordBytes));
      weight_from[i] += T::kWeightBytes;
    }
  };
  const auto copy_x = [&](int group, SharedAddress to) {
    if (group >= end) return;
#pragma unroll
    for (int i = 0; i < kXRuns; ++i) {
      const int tile = i * S::kWarps + warp;
      if (tile < S::kTokenTilesOfBlock) {
        copy_run<T::kXBytes>(to + T::kXOffset + tile * T::kXBytes, x_from[i], lane,
                             bytes_of(group, kXRecordBytes));
      }
      x_from[i] += T::kXBytes;
    }
  };
  allow_next_kernel();
  for (int i = 0; i < T::kCount - 1; ++i) copy_weights(begin + i * T::kGroups, shared_to + i * T::kBytes);
  wait_for_previous_kernel();  // for x and out; the weight was there before
  for (int i = 0; i < T::kCount - 1; ++i) {
    copy_x(begin + i * T::kGroups, shared_to + i * T::kBytes);
    commit_copies();
  }
  int copied = begin + (T::kCount - 1) * T::kGroups;  // groups
  int copied_to = T::kCount - 1;                      // which stage

  const int weight_offset = warp % S::kM * S::kWarpFeatureTiles * T::kWeightBytes;
  const int x_offset = T::kXOffset + warp / S::kM * S::kWarpTokenTiles * T::kXBytes;
  float totals[S::kWarpFeatureTiles][S::kWarpTokenTiles][4] = {};
  int slot = 0;
  for (int chunk = first_chunk; chunk < end_chunk; ++chunk) {
    const int chunk_end = chunk_begin(matmul.groups, matmul.chunks, chunk + 1);
    float sums[S::kWarpFeatureTiles][S::kWarpTokenTiles][4] = {};
    for (int group = chunk_begin(matmul.groups, matmul.chunks, chunk); group < chunk_end;
         group += T::kGroups) {
      wait_for_copies<T::kCount - 2>();
      // The copies of all threads are there, and all have read the stage that is overwritten next.
      __syncthreads();
      copy_weights(copied, shared_to + copied_to * T::kBytes);
      copy_x(copied, shared_to + copied_to * T::kBytes);
      commit_copies();
      copied += T::kGroups;
      copied_to = copied_to + 1 == T::kCount ? 0 : copied_to + 1;
      const std::byte* const stage = shared + slot * T::kBytes;
      slot = slot + 1 == T::kCount ? 0 : slot + 1;
      if (T::kGroups == 1 || chunk_end - group >= T::kGroups) {
        multiply_groups<kFormat, T::kGroups, T::kGroups>(stage + weight_offset, stage + x_offset, lane, sums);
      } else {
        multiply_groups<kFormat, T::kGroups, 1>(stage + weight_offset, stage + x_offset, lane, sums);
      }
    }
    add_chunk<S::kTotalsAreShared>(sums, chunk == first_chunk, chunk + 1 == end_chunk, shared_totals,
                                   S::kThreads, totals);
  }

  float* const out = task.out + blockIdx.z * matmul.rows * matmul.out_features;
  // A chunk alone goes to add_chunks().
  const bool with_bias = gridDim.z == 1;
#pragma unroll
  for (int m = 0; m < S::kWarpFeatureTiles; ++m) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int tile = first_feature_tile + warp % S::kM * S::kWarpFeatureTiles + m;
      const std::int64_t feature = std::int64_t{tile} * kTileFeatures + lane / 4 + i / 2 * 8;
      if (feature >= matmul.out_features) continue;
      const float bias = with_bias && matmul.bias != nullptr ? matmul.bias[feature] : 0.0f;
#pragma unroll
      for (int n = 0; n < S::kWarpTokenTiles; ++n) {
        const int token_tile = first_token_tile + warp / S::kM * S::kWarpTokenTiles + n;
        const std::int64_t row = std::int64_t{token_tile} * kTileTokens + lane % 4 * 2 + i % 2;
        if (row < matmul.rows) out[row * matmul.out_features + feature] = totals[m][n][i] + bias;
      }
    }
  }
}

// ---- Chunks that were computed by blocks of their own
__global__ void __launch_bounds__(kThreads) add_chunks(MatmulTask task, const float* parts) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const std::int64_t count = task.rows * task.out_features;
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  for (int c = 0; c < task.chunks; ++c) sum += parts[c * count + i];
  task.out[i] = sum + (task.bias == nullptr ? 0.0f : task.bias[i % task.out_features]);
}

// ---- Launches
template <WeightFormat kFormat, typename S>
void launch_tiles(const Device& device, const MatmulTask& task, const std::byte* x_records, float* parts,
                  std::int64_t parts_bytes) {
  constexpr int kSharedBytes = Stages<kFormat, S>::kAllBytes + S::kTotalBytes;
  const auto kernel = multiply_tile<kFormat, S>;
  const std::int64_t token_blocks = ceil_divide<std::int64_t>(task.rows, S::kTokenTilesOfBlock * kTileTokens);
  const std::int64_t feature_blocks =
      ceil_divide<std::int64_t>(task.out_features, S::kFeatureTilesOfBlock * kTileFeatures);
  // Writing and reading parts must not cost more than idle multiprocessors do.
  const bool too_few = token_blocks * feature_blocks * (S::kIsLarge ? 2 : 1) <= device.multiprocessors;
  const std::int64_t outputs = task.rows * task.out_features;
  const bool cut = task.chunks > 1 && too_few &&
                   task.chunks * outputs * static_cast<std::int64_t>(sizeof(float)) <= parts_bytes;

  allow_shared(kernel, kSharedBytes);
  launch_early(device, kernel,
               {dim3(static_cast<unsigned>(token_blocks), static_cast<unsigned>(feature_blocks),
                     static_cast<unsigned>(cut ? task.chunks : 1)),
                dim3(S::kThreads), kSharedBytes},
               TileTask{.matmul = task,
                        .x_records = x_records,
                        .out = cut ? parts : task.out,
                        .chunks_of_block = cut ? 1 : task.chunks});
  if (!cut) return;
  launch_early(device, add_chunks, thread_each(outputs, kThreads), task, parts);
}

// Rows for which there is room in the workspace.
template <WeightFormat kFormat>
void multiply_rows(const Device& device, const MatmulTask& task) {
  const std::int64_t records = ceil_divide<std::int64_t>(task.rows, kTileTokens) * task.groups;
  const std::int64_t bytes = records * x_record_bytes(kFormat);
  auto* const x_records = device_pointer<std::byte>(device.workspace);
  launch_early(device, make_x_records<kFormat>,
               {dim3(static_cast<unsigned>(ceil_divide<std::int64_t>(records, kWarps))), dim3(kThreads)},
               task, x_records);
  const auto with_shape = [&]<typename S>() {
    launch_tiles<kFormat, S>(device, task, x_records, reinterpret_cast<float*>(x_records + bytes),
                             device.workspace_bytes - bytes);
  };
  if (task.rows <= 8) {
    with_shape.template operator()<FewRows<1>>();
  } else if (task.rows <= 16) {
    with_shape.template operator()<FewRows<2>>();
  } else if (task.rows <= 32) {
    with_shape.template operator()<FewRows<4>>();
  } else if (task.rows <= 64) {
    with_shape.template operator()<FewRows<8>>();
  } else {
    with_shape.template operator()<ManyRows<kFormat>>();
  }
}

template <WeightFormat kFormat>
void multiply(const Device& device, const MatmulTask& task) {
  // Few enough that x stays in the second-level cache while the weight streams past.
  constexpr std::int64_t kMostRows = 2048;
  const std::int64_t tile_bytes = std::int64_t{task.groups} * x_record_bytes(kFormat);
  const std::int64_t rows_at_once = std::min(device.workspace_bytes / tile_bytes * kTileTokens, kMostRows);
  if (rows_at_once == 0) throw std::runtime_error("matmul: the workspace is too small for a row");
  for (std::int64_t first = 0; first < task.rows; first += rows_at_once) {
    MatmulTask part = task;
    part.rows = std::min(rows_at_once, task.rows - first);
    part.x += first * task.in_features;
    part.out += first * task.out_features;
    multiply_rows<kFormat>(device, part);
  }
}

}  // namespace

void matmul_prefill(const Device& device, WeightFormat format, const MatmulTask& task) {
  with_record_format(format, [&]<WeightFormat kFormat>() { multiply<kFormat>(device, task); });
}

}  // namespace sinkstream::kernels::cuda
