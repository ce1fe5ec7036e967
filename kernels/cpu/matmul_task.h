// What the matrix products of all instruction sets share, so that a row's bits depend on that row alone: an
// output sums its products in ascending order of the inputs, in one accumulator, block by block; a block's
// sum is added to the output. How many rows and panels a tile has changes none of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/host/packed_weight.h"
#include "kernels/host_matrix.h"

namespace sinkstream::kernels {

// Panels that a tile has at most, all of which read the same inputs of x.
inline constexpr int kTilePanels = 4;

// Groups of inputs in a block: few enough for a tile's weights to stay in the second-level cache while rows
// pass by.
inline constexpr std::int64_t kBlockGroups = 32;
inline constexpr std::int64_t kBlockPairs = kBlockGroups * kGroupPairs;

struct MatmulTask {
  PackedWeight weight;
  std::span<const float> bias;  // [out_features] or empty
  HostMatrix out;

  // Features of a panel; the last has fewer.
  std::int64_t features(std::int64_t panel) const {
    return std::min(kPanelFeatures, out.cols - panel * kPanelFeatures);
  }
};

// Calls tile(first_row, rows, first_panel, panels, block) for all that makes up panels [begin, end): each
// tile's blocks in order, and a block of weights for all rows while it is in the cache. Rows are shared
// evenly among tiles of at most `tile_rows`.
template <class Function>
void for_each_tile(const MatmulTask& task, int tile_rows, int tile_panels, std::int64_t begin,
                   std::int64_t end, const Function& tile) {
  const std::int64_t rows = task.out.rows;
  const std::int64_t tiles = (rows + tile_rows - 1) / tile_rows;
  for (std::int64_t panel = begin; panel < end; panel += tile_panels) {
    const auto panels = static_cast<int>(std::min<std::int64_t>(tile_panels, end - panel));
    for (std::int64_t block = 0; block * kBlockPairs < task.weight.pairs(); ++block) {
      for (std::int64_t i = 0; i < tiles; ++i) {
        const std::int64_t first = rows * i / tiles;
        tile(first, static_cast<int>(rows * (i + 1) / tiles - first), panel, panels, block);
      }
    }
  }
}

}  // namespace sinkstream::kernels
