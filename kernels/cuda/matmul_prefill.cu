// matmul for many rows. x is rounded to bf16 once, in the order in which tensor cores take it; then each block computes
// a tile of features and tokens. Where there are too few tiles for the GPU, blocks compute one chunk of the inputs each,
// and a last kernel adds the chunks.
#include <algorithm>
#include <stdexcept>

#include "kernels/cuda/matmul_kernels.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kStages = 4;
constexpr int kStageGroups = 2;
constexpr int kSumBytes = kTileTokens * static_cast<int>(sizeof(float));  // of a group's sums of x

// ---- x
struct FragmentTask {
  MatmulTask matmul;  // of these rows
  std::byte* x;       // [token tiles][groups] of kFragmentBytes
  float* x_sums;      // [token tiles][groups][kTileTokens], or null
};

// One warp a tile's group.
__global__ void __launch_bounds__(kThreads) make_fragments(FragmentTask task) {
  const MatmulTask& matmul = task.matmul;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const std::int64_t index = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
  const std::int64_t tile = index / matmul.groups;
  if (tile >= ceil_divide<std::int64_t>(matmul.rows, kTileTokens)) return;  // the whole warp
  const std::int64_t row = tile * kTileTokens + lane / 4;
  const std::int64_t first = index % matmul.groups * kGroupInputs - matmul.columns_before + lane % 4 * 2;
  const float* const from = matmul.x + row * matmul.in_features;
  const auto at = [&](std::int64_t column) {
    return row < matmul.rows && column >= 0 && column < matmul.in_features ? from[column] : 0.0f;
  };
  std::uint32_t x[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = pack_bf16(at(first + i * 8), at(first + i * 8 + 1));
  reinterpret_cast<uint4*>(task.x + index * kFragmentBytes)[lane] = uint4{x[0], x[1], x[2], x[3]};
  if (task.x_sums == nullptr) return;
  float sums[2];
  sum_group(x, sums);
  if (lane < 4) {
    task.x_sums[index * kTileTokens + lane * 2] = sums[0];
    task.x_sums[index * kTileTokens + lane * 2 + 1] = sums[1];
  }
}

// ---- Tiles
struct TileTask {
  FragmentTask fragments;
  float* out;          // [rows, out_features], or of each chunk: [chunks, rows, out_features]
  const float* bias;   // or null
  int chunks_of_block; // one, or all
};

// kWarpsM x kWarpsN warps, each kFeatureTiles x kTokenTiles tiles of mma_bf16.
template <WeightFormat kFormat, int kWarpsM, int kWarpsN, int kFeatureTiles, int kTokenTiles>
struct Shape {
  static_assert(kWarpsM * kWarpsN == kWarps);
  static constexpr int kBlockFeatureTiles = kWarpsM * kFeatureTiles;
  static constexpr int kBlockTokenTiles = kWarpsN * kTokenTiles;
  static constexpr int kWeightBytes = kStageGroups * record_bytes(kFormat);  // of a feature tile
  static constexpr int kXBytes = kStageGroups * kFragmentBytes;              // of a token tile
  static constexpr int kXSumBytes = kFormat == WeightFormat::int4 ? kStageGroups * kSumBytes : 0;
  // A stage: weights, x, sums of x.
  static constexpr int kXOffset = kBlockFeatureTiles * kWeightBytes;
  static constexpr int kXSumOffset = kXOffset + kBlockTokenTiles * kXBytes;
  static constexpr int kStageBytes = kXSumOffset + kBlockTokenTiles * kXSumBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
};

// The stages of some chunks: up to kStageGroups groups of one chunk each.
struct Walk {
  int group;
  int chunk;
  int chunk_end;   // a group
  int last_chunk;  // exclusive
  int groups;
  int chunks;

  __device__ Walk(const MatmulTask& task, int first, int count)
      : group(chunk_begin(task.groups, task.chunks, first)),
        chunk(first),
        chunk_end(chunk_begin(task.groups, task.chunks, first + 1)),
        last_chunk(first + count),
        groups(task.groups),
        chunks(task.chunks) {}

  __device__ bool done() const { return chunk == last_chunk; }
  __device__ int stage_groups() const { return chunk_end - group < kStageGroups ? chunk_end - group : kStageGroups; }
  // Whether a chunk has ended.
  __device__ bool advance() {
    group += kStageGroups;
    if (group < chunk_end) return false;
    group = chunk_end;
    ++chunk;
    chunk_end = chunk_begin(groups, chunks, chunk + 1);
    return true;
  }
};

// Copies `count` runs of kRunBytes, of which `bytes` are wanted; runs are `stride` bytes apart.
template <int kRunBytes>
__device__ inline void copy_runs(std::byte* to, const std::byte* from, std::int64_t stride, int count, int bytes) {
  constexpr int kPieces = kRunBytes / 16;
  for (int i = static_cast<int>(threadIdx.x); i < count * kPieces; i += kThreads) {
    const int run = i / kPieces, offset = i % kPieces * 16;
    if (offset < bytes) copy_async_16(to + run * kRunBytes + offset, from + run * stride + offset);
  }
}

template <WeightFormat kFormat, int kWarpsM, int kWarpsN, int kFeatureTiles, int kTokenTiles>
__global__ void __launch_bounds__(kThreads) multiply_tile(TileTask task) {
  using S = Shape<kFormat, kWarpsM, kWarpsN, kFeatureTiles, kTokenTiles>;
  constexpr int kRecordBytes = record_bytes(kFormat);
  const MatmulTask& matmul = task.fragments.matmul;
  std::byte* const shared = dynamic_shared<std::byte>();
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int warp_m = warp % kWarpsM, warp_n = warp / kWarpsM;

  // What is past the last tile is left as it is: it reaches no result that is written.
  const int token_tile = static_cast<int>(blockIdx.x) * S::kBlockTokenTiles;
  const int feature_tile = static_cast<int>(blockIdx.y) * S::kBlockFeatureTiles;
  const auto tiles_here = [](std::int64_t size, int tile, int first, int most) {
    const auto left = static_cast<int>(ceil_divide<std::int64_t>(size, tile)) - first;
    return left < most ? left : most;
  };
  const int token_tiles = tiles_here(matmul.rows, kTileTokens, token_tile, S::kBlockTokenTiles);
  const int feature_tiles = tiles_here(matmul.out_features, kTileFeatures, feature_tile, S::kBlockFeatureTiles);
  const std::int64_t weight_stride = static_cast<std::int64_t>(matmul.groups) * kRecordBytes;
  const std::int64_t x_stride = static_cast<std::int64_t>(matmul.groups) * kFragmentBytes;
  const std::int64_t x_sum_stride = static_cast<std::int64_t>(matmul.groups) * kSumBytes;
  const std::byte* const weight = matmul.weight + feature_tile * weight_stride;
  const std::byte* const x_from = task.fragments.x + token_tile * x_stride;
  const auto* const x_sums_from =
      reinterpret_cast<const std::byte*>(task.fragments.x_sums) + token_tile * x_sum_stride;

  const int first_chunk = static_cast<int>(blockIdx.z) * task.chunks_of_block;
  Walk copied(matmul, first_chunk, task.chunks_of_block);
  int copied_to = 0;
  const auto copy_stage = [&] {
    if (!copied.done()) {
      std::byte* const to = shared + copied_to * S::kStageBytes;
      const int groups = copied.stage_groups();
      copy_runs<S::kWeightBytes>(to, weight + static_cast<std::int64_t>(copied.group) * kRecordBytes, weight_stride,
                                 feature_tiles, groups * kRecordBytes);
      copy_runs<S::kXBytes>(to + S::kXOffset, x_from + static_cast<std::int64_t>(copied.group) * kFragmentBytes,
                            x_stride, token_tiles, groups * kFragmentBytes);
      if constexpr (kFormat == WeightFormat::int4) {
        copy_runs<S::kXSumBytes>(to + S::kXSumOffset, x_sums_from + static_cast<std::int64_t>(copied.group) * kSumBytes,
                                 x_sum_stride, token_tiles, groups * kSumBytes);
      }
      copied.advance();
      copied_to = copied_to + 1 == kStages ? 0 : copied_to + 1;
    }
    commit_copies();
  };
  for (int i = 0; i < kStages - 1; ++i) copy_stage();

  float totals[kFeatureTiles][kTokenTiles][4];
  float sums[kFeatureTiles][kTokenTiles][4] = {};
  int slot = 0;
  for (Walk walk(matmul, first_chunk, task.chunks_of_block); !walk.done();) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // the copies of all threads are there, and all have read the stage that is overwritten next
    copy_stage();
    const std::byte* const stage = shared + slot * S::kStageBytes;
    slot = slot + 1 == kStages ? 0 : slot + 1;
    const int groups = walk.stage_groups();
#pragma unroll
    for (int i = 0; i < kStageGroups; ++i) {
      if (i >= groups) break;
      std::uint32_t x[kTokenTiles][4];
      float x_sums[kTokenTiles][2] = {};
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const int tile = warp_n * kTokenTiles + n;
        const uint4 pairs = reinterpret_cast<const uint4*>(stage + S::kXOffset + tile * S::kXBytes + i * kFragmentBytes)[lane];
        x[n][0] = pairs.x;
        x[n][1] = pairs.y;
        x[n][2] = pairs.z;
        x[n][3] = pairs.w;
        if constexpr (kFormat == WeightFormat::int4) {
          const float2 two = reinterpret_cast<const float2*>(stage + S::kXSumOffset + tile * S::kXSumBytes +
                                                             i * kSumBytes)[lane % 4];
          x_sums[n][0] = two.x;
          x_sums[n][1] = two.y;
        }
      }
#pragma unroll
      for (int m = 0; m < kFeatureTiles; ++m) {
        const int tile = warp_m * kFeatureTiles + m;
        multiply_record<kFormat, kTokenTiles>(stage + tile * S::kWeightBytes + i * kRecordBytes, lane, x, x_sums,
                                              sums[m]);
      }
    }
    const bool is_first = walk.chunk == first_chunk;
    if (!walk.advance()) continue;
#pragma unroll
    for (int m = 0; m < kFeatureTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          totals[m][n][i] = is_first ? sums[m][n][i] : totals[m][n][i] + sums[m][n][i];
          sums[m][n][i] = 0;
        }
      }
    }
  }

  float* const out = task.out + blockIdx.z * matmul.rows * matmul.out_features;
#pragma unroll
  for (int m = 0; m < kFeatureTiles; ++m) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::int64_t feature =
          std::int64_t{feature_tile + warp_m * kFeatureTiles + m} * kTileFeatures + lane / 4 + i / 2 * 8;
      if (feature >= matmul.out_features) continue;
      // Where there is a chunk alone, all are added, and the bias, later.
      const bool alone = gridDim.z > 1;
      const float bias = task.bias == nullptr ? 0.0f : task.bias[feature];
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const std::int64_t row =
            std::int64_t{token_tile + warp_n * kTokenTiles + n} * kTileTokens + lane % 4 * 2 + i % 2;
        if (row >= matmul.rows) continue;
        out[row * matmul.out_features + feature] = alone ? totals[m][n][i] : totals[m][n][i] + bias;
      }
    }
  }
}

// ---- Chunks that were computed by blocks of their own
__global__ void __launch_bounds__(kThreads) add_chunks(const float* parts, int chunks, std::int64_t rows,
                                                       std::int64_t out_features, const float* bias, float* out) {
  const std::int64_t count = rows * out_features;
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  float sum = parts[i];
  for (int c = 1; c < chunks; ++c) sum += parts[c * count + i];
  out[i] = sum + (bias == nullptr ? 0.0f : bias[i % out_features]);
}

// ---- Launches
template <WeightFormat kFormat, int kWarpsM, int kWarpsN, int kFeatureTiles, int kTokenTiles>
void launch_tiles(const Device& device, const FragmentTask& fragments, float* parts, std::int64_t parts_bytes) {
  using S = Shape<kFormat, kWarpsM, kWarpsN, kFeatureTiles, kTokenTiles>;
  const MatmulTask& matmul = fragments.matmul;
  const auto kernel = multiply_tile<kFormat, kWarpsM, kWarpsN, kFeatureTiles, kTokenTiles>;
  const std::int64_t token_blocks = ceil_divide<std::int64_t>(matmul.rows, S::kBlockTokenTiles * kTileTokens);
  const std::int64_t feature_blocks =
      ceil_divide<std::int64_t>(matmul.out_features, S::kBlockFeatureTiles * kTileFeatures);
  const std::int64_t outputs = matmul.rows * matmul.out_features;
  const bool too_few = token_blocks * feature_blocks * 2 <= device.multiprocessors;
  const bool cut = matmul.chunks > 1 && too_few && matmul.chunks * outputs * 4 <= parts_bytes;

  allow_shared(kernel, S::kSharedBytes);
  launch(kernel,
         {dim3(static_cast<unsigned>(token_blocks), static_cast<unsigned>(feature_blocks),
               static_cast<unsigned>(cut ? matmul.chunks : 1)),
          dim3(kThreads), S::kSharedBytes},
         device.stream,
         TileTask{.fragments = fragments,
                  .out = cut ? parts : matmul.out,
                  .bias = matmul.bias,
                  .chunks_of_block = cut ? 1 : matmul.chunks});
  if (!cut) return;
  launch(add_chunks, {dim3(static_cast<unsigned>(ceil_divide<std::int64_t>(outputs, kThreads))), dim3(kThreads)},
         device.stream, parts, matmul.chunks, matmul.rows, matmul.out_features, matmul.bias, matmul.out);
}

template <WeightFormat kFormat>
void launch_rows(const Device& device, const FragmentTask& fragments, float* parts, std::int64_t parts_bytes) {
  const std::int64_t rows = fragments.matmul.rows;
  if (rows <= 8) {
    launch_tiles<kFormat, 8, 1, 1, 1>(device, fragments, parts, parts_bytes);
  } else if (rows <= 16) {
    launch_tiles<kFormat, 8, 1, 1, 2>(device, fragments, parts, parts_bytes);
  } else if (rows <= 32) {
    launch_tiles<kFormat, 8, 1, 1, 4>(device, fragments, parts, parts_bytes);
  } else if (rows <= 64) {
    launch_tiles<kFormat, 8, 1, 1, 8>(device, fragments, parts, parts_bytes);
  } else {
    launch_tiles<kFormat, 2, 4, 4, 4>(device, fragments, parts, parts_bytes);
  }
}

}  // namespace

void matmul_prefill(const Device& device, WeightFormat format, const MatmulTask& task) {
  // Few enough that x stays in the second-level cache while the weight streams past.
  constexpr std::int64_t kMostRows = 2048;
  const bool with_sums = format == WeightFormat::int4;
  const std::int64_t tile_bytes = std::int64_t{task.groups} * (kFragmentBytes + (with_sums ? kSumBytes : 0));
  const std::int64_t rows_at_once = std::min(device.workspace_bytes / tile_bytes * kTileTokens, kMostRows);
  if (rows_at_once == 0) throw std::runtime_error("matmul: the workspace is too small for a row");

  for (std::int64_t first = 0; first < task.rows; first += rows_at_once) {
    FragmentTask fragments{.matmul = task, .x = device_pointer<std::byte>(device.workspace), .x_sums = nullptr};
    fragments.matmul.rows = std::min(rows_at_once, task.rows - first);
    fragments.matmul.x += first * task.in_features;
    fragments.matmul.out += first * task.out_features;
    const std::int64_t tiles = ceil_divide<std::int64_t>(fragments.matmul.rows, kTileTokens);
    std::byte* const end_of_x = fragments.x + tiles * task.groups * kFragmentBytes;
    if (with_sums) fragments.x_sums = reinterpret_cast<float*>(end_of_x);
    launch(make_fragments,
           {dim3(static_cast<unsigned>(ceil_divide<std::int64_t>(tiles * task.groups, kWarps))), dim3(kThreads)},
           device.stream, fragments);
    auto* const parts = reinterpret_cast<float*>(fragments.x + tiles * tile_bytes);
    const std::int64_t parts_bytes = device.workspace_bytes - tiles * tile_bytes;
    with_record_format(format, [&]<WeightFormat kFormat>() {
      launch_rows<kFormat>(device, fragments, parts, parts_bytes);
    });
  }
}

}  // namespace sinkstream::kernels::cuda
