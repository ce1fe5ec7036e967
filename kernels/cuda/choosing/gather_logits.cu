#include <algorithm>
#include <stdexcept>

#include "kernels/cuda/choosing/gather_logits.h"
#include "kernels/cuda/warp.h"
#include "parallel/shard_plan.h"

namespace sinkstream::kernels::cuda {
namespace {

// Rows of `width` as rows of `padded_width`; what is behind them stays.
__global__ void pad_rows_kernel(const float* from, std::int64_t width, std::int64_t padded_width,
                                std::int64_t elements, float* to) {
  const std::int64_t i = thread_of_grid();
  if (i < elements) to[i / width * padded_width + i % width] = from[i];
}

void pad_rows(const Device& device, ConstMatrix from, Matrix to) {
  constexpr int kThreads = 256;
  const std::int64_t elements = from.rows * from.cols;
  if (elements == 0) return;
  launch(pad_rows_kernel, thread_each(elements, kThreads), device.stream,
         device_pointer<const float>(from.data), from.cols, to.cols, elements,
         device_pointer<float>(to.data));
}

}  // namespace

void gather_and_choose(const Device& device, Exchange* exchange, ConstMatrix logits, std::int64_t vocab_size,
                       DeviceSpan<const ChoiceTask> tasks, const SlotStatesView& states,
                       DeviceSpan<Choice> out) {
  const int ranks = exchange->ranks();
  const std::int64_t largest_slice = split_evenly(vocab_size, ranks, 0).size();
  if (ranks == 1) {
    choose(device, {logits.data, logits.rows, largest_slice, vocab_size, 1}, tasks, states, out);
    return;
  }
  // The workspace holds some outputs' logits, this rank's and all ranks', and what choose() needs behind
  // them.
  const std::int64_t output_bytes = (1 + ranks) * largest_slice * std::int64_t{sizeof(float)};
  const std::int64_t most = (device.workspace_bytes - choose_workspace_bytes(vocab_size)) / output_bytes;
  if (most < 1) throw std::runtime_error("choose: the workspace is too small for a vocabulary of this size");
  for (std::int64_t first = 0; first < logits.rows; first += most) {
    const std::int64_t count = std::min(most, logits.rows - first);
    const Matrix mine = {device.workspace, count, largest_slice};
    const Matrix all = {device.workspace + mine.bytes(), ranks * count, largest_slice};
    Matrix part;
    part.data = logits.data + first * logits.cols * std::int64_t{sizeof(float)};
    part.rows = count;
    part.cols = logits.cols;
    pad_rows(device, part, mine);
    exchange->gather(device, mine, all);
    Device rest = device;
    rest.workspace = all.data + all.bytes();
    rest.workspace_bytes = device.workspace_bytes - mine.bytes() - all.bytes();
    choose(rest, {all.data, count, largest_slice, vocab_size, ranks}, tasks.part(first, count), states,
           out.part(first, count));
  }
}

}  // namespace sinkstream::kernels::cuda
