// Which rows stand beside others of their slot (a chunk of a prompt) and which for themselves (a session that
// decodes).
#include "kernels/cuda/attention/task.h"
#include "kernels/cuda/early_launch.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

// Of all values up to this thread's, its own too. `totals` [kWarps] is shared, for this call alone.
template <typename Combine>
__device__ int scan(int value, const Combine& combine, int* totals) {
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const int before = __shfl_up_sync(kWholeWarp, value, static_cast<unsigned>(distance));
    if (lane_id() >= distance) value = combine(before, value);
  }
  if (lane_id() == kWarpSize - 1) totals[warp_id()] = value;
  __syncthreads();
  for (int warp = warp_id() - 1; warp >= 0; --warp) value = combine(totals[warp], value);
  return value;
}

// What stands in device memory at first.
struct PlanMemory {
  int* num_apart;
  int* num_runs;
  int* apart;
  RowRun* runs;
};

// One block. A run is emitted by its last row.
__global__ void __launch_bounds__(kThreads)
    plan(const AttentionRow* rows, int num_rows, int longest, int shortest, PlanMemory to) {
  __shared__ int totals[3][kWarps];
  __shared__ int carried[3];
  begin_after_previous();
  int begin_before = 0;
  int apart_before = 0;
  int runs_before = 0;
  const int thread = static_cast<int>(threadIdx.x);
  for (int base = 0; base < num_rows; base += kThreads) {
    const int r = base + thread;
    const bool exists = r < num_rows;
    const bool begins = exists && (r == 0 || rows[r].slot != rows[r - 1].slot);
    const auto later = [](int a, int b) { return max(a, b); };
    const int begin = max(begin_before, scan(begins ? r : 0, later, totals[0]));  // of the slot's rows
    const int first = begin + (r - begin) / longest * longest;
    const bool ends =
        exists && (r + 1 == num_rows || rows[r].slot != rows[r + 1].slot || r + 1 == first + longest);
    const int count = r + 1 - first;
    const bool is_run = ends && count >= shortest;
    const auto sum = [](int a, int b) { return a + b; };
    const int runs = runs_before + scan(is_run ? 1 : 0, sum, totals[1]);
    const int apart = apart_before + scan(ends && !is_run ? count : 0, sum, totals[2]);
    if (is_run) {
      to.runs[runs - 1] = {first, count};
    } else if (ends) {
      for (int i = 0; i < count; ++i) to.apart[apart - count + i] = first + i;
    }
    if (thread == kThreads - 1) {
      carried[0] = begin;
      carried[1] = runs;
      carried[2] = apart;
    }
    __syncthreads();
    begin_before = carried[0];
    runs_before = carried[1];
    apart_before = carried[2];
  }
  if (thread == 0) {
    *to.num_runs = runs_before;
    *to.num_apart = apart_before;
  }
}

}  // namespace

RowPlan plan_rows(const Device& device, const AttentionTask& task, Address memory) {
  int* const counts = device_pointer<int>(memory);
  int* const apart = counts + 2;
  const PlanMemory to{counts, counts + 1, apart, reinterpret_cast<RowRun*>(apart + task.num_rows)};
  launch_early(device, plan, {dim3(1), dim3(kThreads)}, task.rows, task.num_rows, rows_per_run(task.shard),
               fewest_rows_of_run(task.shard), to);
  return {to.num_apart, to.num_runs, to.apart, to.runs};
}

}  // namespace sinkstream::kernels::cuda
