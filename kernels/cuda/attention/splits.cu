// Attention of rows for themselves: a block a split, which is read once for all heads of a tile; then the
// splits of each row are merged. Bound by memory. Of many blocks several share a multiprocessor, and each has
// a part of its keys and values on their way; of few, which would wait for memory once for each part, each
// has all of them in shared memory (kDeep), begun before the previous kernel has ended.
#include <type_traits>

#include "kernels/cuda/attention/head_sizes.h"
#include "kernels/cuda/attention/split_of_any_heads.h"
#include "kernels/cuda/attention/split_of_known_heads.h"
#include "kernels/cuda/early_launch.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kMergeThreads = 128;
constexpr int kFewBlocks = 4;  // of a multiprocessor

// A row's splits, first those of the sinks.
struct RowSplits {
  Splits sinks;
  Splits window;

  __device__ explicit RowSplits(const AttentionRow& row)
      : sinks(splits_of(reach_in_sinks(row))), window(splits_of(reach_in_window(row))) {}
  __device__ std::int64_t count() const { return sinks.count() + window.count(); }
};

// What a block's phases (keys come, scores, values) leave idle, others use. (The emulation takes
// no notice.)
[[maybe_unused]] constexpr int blocks_of_multiprocessor(int head_dim, bool deep) {
  return deep ? 1 : head_dim == 0 ? 2 : head_dim <= 128 ? 3 : 1;
}

// Positions from here on may be those of rows in this step.
__device__ std::int64_t first_new_position(const AttentionTask& task, const AttentionRow& row) {
  return row.position - task.num_rows + 1;
}

// Blocks: splits, tiles of heads, rows (each takes more than one where there are more). kHeadDim 0: any.
template <typename Element, int kHeadDim, bool kDeep>
__global__ void __launch_bounds__(kSplitThreads, blocks_of_multiprocessor(kHeadDim, kDeep))
    attend(AttentionTask task, RowPlan plan, SplitResults results) {
  allow_next_kernel();
  // Rows are no kernel's work, but a plan is.
  if (plan.apart != nullptr) wait_for_previous_kernel();
  std::byte* const shared = dynamic_shared<std::byte>();
  SplitExchange& exchange = *reinterpret_cast<SplitExchange*>(shared);
  auto* const operands = reinterpret_cast<uint4*>(shared + sizeof(SplitExchange));
  const int which = static_cast<int>(blockIdx.x);
  const int tile = static_cast<int>(blockIdx.y);
  const HeadTile heads = head_tile(task.shard, results.first_tile + tile);
  if (heads.heads == 0) return;
  const int last_row = min(results.rows, plan.apart_rows(task) - results.first_row);
  for (int i = static_cast<int>(blockIdx.z); i < last_row; i += static_cast<int>(gridDim.z)) {
    const int r = plan.apart_row(results.first_row + i);
    const AttentionRow row = task.rows[r];
    const RowSplits splits(row);
    if (which >= splits.count()) continue;
    const bool of_sinks = which < splits.sinks.count();
    const std::int64_t in_array =
        of_sinks ? splits.sinks.first + which : splits.window.first + which - splits.sinks.count();
    const std::int64_t at = task.head_offset(r, heads.first_head);
    const Reach reach = of_sinks ? reach_in_sinks(row) : reach_in_window(row);
    const std::int64_t begin = in_array * kSplitKeys;
    const Ring ring = of_sinks ? sinks_ring(task.cache, row.slot, heads.kv_head)
                               : window_ring(task.cache, row.slot, heads.kv_head);
    const SplitTask split{
        .reach = near(reach, begin),
        .stretch = Stretch(begin, kSplitKeys, reach, ring.capacity),
        .first_new = Stretch::clamp(first_new_position(task, row) - begin, kSplitKeys),
        .ring = ring,
        .queries = (of_sinks ? task.sink_queries : task.window_queries) + at,
        .slopes = task.alibi_slopes == nullptr ? nullptr : task.alibi_slopes + heads.first_head,
        .heads = heads.heads,
        .scale = task.scale,
        .results = &results,
        .result = results.index(i, tile, which, 0),
    };
    // Where both arrays are of one type, one pass serves them.
    constexpr bool kAlike = std::is_same_v<Element, float> && !kDeep;
    if constexpr (kHeadDim == 0) {
      const AnySize size{task.cache.head_dim};
      if (!kAlike && of_sinks) {
        attend_split<float>(split, exchange, operands, size);
      } else {
        attend_split<Element>(split, exchange, operands, size);
      }
    } else {
      std::byte* const staged =
          reinterpret_cast<std::byte*>(operands + Staging<Element, kHeadDim, kDeep>::kOperands);
      if (!kAlike && of_sinks) {
        attend_split<float, kHeadDim>(split, exchange, operands, staged);
      } else if constexpr (kDeep) {
        attend_split_deep<Element, kHeadDim>(split, exchange, operands, staged);
      } else {
        attend_split<Element, kHeadDim>(split, exchange, operands, staged);
      }
    }
    __syncthreads();
  }
}

// Blocks: heads of tiles, rows. A thread has dimensions of its own.
__global__ void __launch_bounds__(kMergeThreads, 8)
    merge_rows(AttentionTask task, RowPlan plan, SplitResults results) {
  allow_next_kernel();
  if (plan.apart != nullptr) wait_for_previous_kernel();
  const int tile = static_cast<int>(blockIdx.x) / results.heads;
  const int head_of_tile = static_cast<int>(blockIdx.x) % results.heads;
  const HeadTile heads = head_tile(task.shard, results.first_tile + tile);
  if (head_of_tile >= heads.heads) return;
  const int head_dim = task.cache.head_dim;
  const int last_row = min(results.rows, plan.apart_rows(task) - results.first_row);
  for (int i = static_cast<int>(blockIdx.y); i < last_row; i += static_cast<int>(gridDim.y)) {
    const int r = plan.apart_row(results.first_row + i);
    const auto splits = static_cast<int>(RowSplits(task.rows[r]).count());
    wait_for_previous_kernel();
    const std::int64_t first = results.index(i, tile, 0, head_of_tile);
    float* const out = task.out + task.head_offset(r, heads.first_head + head_of_tile);
    for (int dimension = static_cast<int>(threadIdx.x); dimension < head_dim; dimension += kMergeThreads) {
      Softmax total;
      float sum = 0;
#pragma unroll 8
      for (int s = 0; s < splits; ++s) {
        const std::int64_t at = first + std::int64_t{s} * results.heads;
        const float of_split = results.sums[at * head_dim + dimension];
        const MergeFactors factors = merge(total, results.softmaxes[at]);
        sum = merged(sum, of_split, factors);
      }
      out[dimension] = __fdiv_rn(sum, total.sum);
    }
  }
}

// Grids end at 65,535 in y and z.
unsigned blocks_for_rows(const SplitResults& results, const RowPlan& plan, const Device& device) {
  // Where few of many rows may be for themselves, blocks for all of them would be most of the work.
  const int most = plan.apart == nullptr
                       ? 65'535
                       : larger(1, 16 * device.multiprocessors / (results.splits * results.tiles));
  return static_cast<unsigned>(smaller(results.rows, most));
}

template <typename Element, int kHeadDim, bool kDeep>
void launch_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                   const SplitResults& results) {
  constexpr int kBytes = [] {
    if constexpr (kHeadDim == 0) {
      return static_cast<int>(sizeof(SplitExchange)) + kWeightVectors * static_cast<int>(sizeof(uint4));
    } else {
      return shared_bytes<Element, kHeadDim, kDeep>();
    }
  }();
  allow_shared(attend<Element, kHeadDim, kDeep>, kBytes);
  const dim3 grid(static_cast<unsigned>(results.splits), static_cast<unsigned>(results.tiles),
                  blocks_for_rows(results, plan, device));
  launch_early(device, attend<Element, kHeadDim, kDeep>,
               {grid, dim3(kSplitThreads), static_cast<std::size_t>(kBytes)}, task, plan, results);
}

// Whether blocks are so few that each had better have a multiprocessor for itself. (A row has fewer splits
// than there are blocks for.)
bool are_few(const Device& device, const RowPlan& plan, const SplitResults& results) {
  return plan.apart == nullptr &&
         std::int64_t{results.rows} * results.tiles * results.splits <= kFewBlocks * device.multiprocessors;
}

template <typename Element, int kHeadDim>
void launch_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                   const SplitResults& results) {
  if constexpr (kCanBeDeep<Element, kHeadDim>) {
    if (are_few(device, plan, results)) {
      return launch_splits<Element, kHeadDim, true>(device, task, plan, results);
    }
  }
  launch_splits<Element, kHeadDim, false>(device, task, plan, results);
}

}  // namespace

void attend_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                   const SplitResults& results) {
  for_head_dim(task.cache.head_dim, [&](auto head_dim) {
    if (task.cache.ring_type == CacheType::f32) {
      launch_splits<float, head_dim()>(device, task, plan, results);
    } else {
      launch_splits<bfloat16, head_dim()>(device, task, plan, results);
    }
  });
}

void merge_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                  const SplitResults& results) {
  const dim3 grid(static_cast<unsigned>(results.tiles * results.heads),
                  static_cast<unsigned>(smaller(results.rows, 65'535)));
  launch_early(device, merge_rows, {grid, dim3(kMergeThreads)}, task, plan, results);
}

}  // namespace sinkstream::kernels::cuda
