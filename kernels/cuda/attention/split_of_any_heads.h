// The same for heads of any size: slower, since nothing is asked for before it is needed.
#pragma once

#include "kernels/cuda/attention/split.h"
#include "kernels/cuda/early_launch.h"

namespace sinkstream::kernels::cuda {

struct AnySize {
  int head_dim;

  __device__ int chunks() const { return ceil_divide(head_dim, kChunk); }
};

__device__ inline float to_number(float value) {
  return value;
}
__device__ inline float to_number(bfloat16 value) {
  return to_float(value);
}

template <typename Element>
__device__ RightOperand<Element> right_operand(const float (&numbers)[4]) {
  std::uint32_t first[kParts], last[kParts];
  split(numbers[0], numbers[1], first);
  split(numbers[2], numbers[3], last);
  RightOperand<Element> operand;
#pragma unroll
  for (int i = 0; i < kPartsOf<Element>; ++i) {
    operand.parts[i][0] = first[i];
    operand.parts[i][1] = last[i];
  }
  return operand;
}

// Four numbers of a lane's chunk, zero beyond the head's end.
template <typename Read>
__device__ float4 four_of_chunk(int chunk, int head_dim, const Read& read) {
  const auto at = [&](int i) {
    const int dimension = chunk * kChunk + lane_id() % 4 * 4 + i;
    return dimension < head_dim ? read(dimension) : 0.0f;
  };
  return make_float4(at(0), at(1), at(2), at(3));
}

template <typename Element>
__device__ void score_tile(const SplitTask& task, AnySize size, TileScores& scores) {
  const int g = lane_id() / 4;
  const auto queries = [&](int head, int chunk) {
    return four_of_chunk(chunk, head < task.heads ? size.head_dim : 0, [&](int dimension) {
      return task.queries[std::int64_t{head} * size.head_dim + dimension];
    });
  };
  if (!task.stretch.wants_any(warp_id() * kTileKeys, kTileKeys)) return;
  for (int chunk = 0; chunk < size.chunks(); ++chunk) {
    const LeftOperand left = query_operand(queries(g, chunk), queries(g + 8, chunk));
#pragma unroll
    for (int n = 0; n < kTileEights; ++n) {
      const int place = warp_id() * kTileKeys + n * 8 + g;
      const auto* const key =
          reinterpret_cast<const Element*>(task.ring.keys) + task.stretch.place_of(place) * size.head_dim;
      const float4 four = four_of_chunk(chunk, task.stretch.wants(place) ? size.head_dim : 0,
                                        [&](int dimension) { return to_number(key[dimension]); });
      const float numbers[4] = {four.x, four.y, four.z, four.w};
      multiply(scores[n], left, right_operand<Element>(numbers));
    }
  }
}

template <typename Element>
__device__ void attend_split(const SplitTask& task, SplitExchange& exchange, uint4* operands, AnySize size) {
  TileScores scores = {};
  wait_for_previous_kernel();
  score_tile<Element>(task, size, scores);
  weigh_split(task, scores, exchange, operands);
  write_softmax(task, exchange);

  const int g = lane_id() / 4;
  const int t = lane_id() % 4;
  const auto value_at = [&](int place, int dimension) {
    if (!task.stretch.wants(place) || dimension >= size.head_dim) return 0.0f;
    return to_number(reinterpret_cast<const Element*>(
        task.ring.values)[task.stretch.place_of(place) * size.head_dim + dimension]);
  };
  for (int group = warp_id(); group < size.chunks(); group += kSplitWarps) {
    float sums[2][4] = {};
    for (int tile = 0; tile < kTilesPerSplit; ++tile) {
      if (!task.stretch.wants_any(tile * kTileKeys, kTileKeys)) continue;
      add_tile_values<Element>(
          exchange, operands, tile, task.heads,
          [&](int half, RightOperand<Element>(&right)[2]) {
            const int key = tile * kTileKeys + half * 16 + 2 * t;
#pragma unroll
            for (int j = 0; j < 2; ++j) {
              const int dimension = group * kChunk + 8 * j + g;
              const float numbers[4] = {value_at(key, dimension), value_at(key + 1, dimension),
                                        value_at(key + 8, dimension), value_at(key + 9, dimension)};
              right[j] = right_operand<Element>(numbers);
            }
          },
          sums);
    }
    for (int i = 0; i < 8; ++i) {
      const int head = g + i / 2 % 2 * 8;
      const int dimension = group * kChunk + i / 4 * 8 + 2 * t + i % 2;
      if (head < task.heads && dimension < size.head_dim) {
        task.results->sums[(task.result + head) * size.head_dim + dimension] = sums[i / 4][i % 4];
      }
    }
  }
}

}  // namespace sinkstream::kernels::cuda
