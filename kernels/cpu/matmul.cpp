// out = x * weight^T (+ bias)
//
// Here in vectors of float32 on any instruction set; dot_units.h has better for some.
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/dot_units.h"
#include "kernels/cpu/matmul_task.h"
#include "kernels/cpu/work.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

// A tile's accumulators, one input's weights and one row's input must fit the registers: 32 with AVX-512,
// else 16. Each input that is read serves all of its vectors.
inline constexpr int kPanelVectors = static_cast<int>(kPanelFeatures / kLanes);
inline constexpr int kMatmulRows = kLanes >= 16 ? 6 : kLanes >= 8 ? 5 : 2;
inline constexpr int kMatmulPanels = kLanes >= 16 ? 4 : 1;

using Words = hn::RebindToUnsigned<Floats>;
using Integers = hn::RebindToSigned<Floats>;

// A group of inputs of a panel, the vector'th features of it, widened to float32.
template <WeightFormat kFormat>
class GroupPart {
 public:
  HWY_INLINE GroupPart(const std::byte* group, int vector) : values_(group), vector_(vector) {
    if constexpr (is_quantized(kFormat)) {
      const auto* const scales =
          reinterpret_cast<const bfloat16*>(group + kGroupPairs * pair_bytes(kFormat)) + vector * kLanes;
      scale_ = load(scales);
      if constexpr (kFormat == WeightFormat::int4) minimum_ = load(scales + kPanelFeatures);
    }
  }

  // Of a pair's first or second input.
  template <int kInput>
  HWY_INLINE FloatVector weights(std::int64_t pair) const {
    if constexpr (kFormat == WeightFormat::f32) {
      return load(reinterpret_cast<const float*>(at(pair)) + kInput * kPanelFeatures + vector_ * kLanes);
    } else if constexpr (kFormat == WeightFormat::bf16) {
      const auto bits =
          hn::LoadU(Words(), reinterpret_cast<const std::uint32_t*>(at(pair)) + vector_ * kLanes);
      if constexpr (kInput == 0) return hn::BitCast(Floats(), hn::ShiftLeft<16>(bits));
      return hn::BitCast(Floats(), hn::And(bits, hn::Set(Words(), 0xffff0000u)));
    } else if constexpr (kFormat == WeightFormat::int8) {
      const auto both = hn::PromoteTo(Integers(), load_bytes<std::int16_t>(at(pair)));
      return scaled(hn::ShiftRight<kInput == 0 ? 24 : 8>(kInput == 0 ? hn::ShiftLeft<24>(both) : both));
    } else {
      const auto bytes = hn::PromoteTo(Integers(), load_bytes<std::uint16_t>(at(pair / 2 * 2)));
      const auto both = pair % 2 == 0 ? bytes : hn::ShiftRight<4>(bytes);
      return scaled(hn::And(hn::ShiftRight<8 * kInput>(both), hn::Set(Integers(), 15)));
    }
  }

 private:
  HWY_INLINE const std::byte* at(std::int64_t index) const { return values_ + index * pair_bytes(kFormat); }

  // Both inputs' bytes of each feature.
  template <typename T>
  HWY_INLINE auto load_bytes(const std::byte* from) const {
    return hn::LoadU(hn::Rebind<T, Floats>(), reinterpret_cast<const T*>(from) + vector_ * kLanes);
  }

  HWY_INLINE FloatVector scaled(hn::Vec<Integers> steps) const {
    const FloatVector value = hn::ConvertTo(Floats(), steps);
    if constexpr (kFormat == WeightFormat::int4) return hn::MulAdd(scale_, value, minimum_);
    return hn::Mul(scale_, value);
  }

  const std::byte* values_;
  int vector_;
  FloatVector scale_;    // of quantized weights
  FloatVector minimum_;  // of int4
};

// A block of a tile: rows from x on, `stride` apart, by panels from first_panel on.
struct TileTask {
  const MatmulTask* all;
  const float* x;
  std::int64_t stride, first_row, first_panel, block;
};

template <int kRows, int kVectors>
struct Sums {
  FloatVector of[kRows][kVectors];
};

// Adds a pair's first or second input to a tile's sums.   x [rows, 2 * pairs], from the pair on
template <int kInput, WeightFormat kFormat, int kRows, int kVectors>
HWY_INLINE void add_input(const PackedWeight& weight, std::int64_t first_panel, std::int64_t offset,
                          std::int64_t pair, const float* x, std::int64_t stride, Sums<kRows, kVectors>& sums) {
  // Unknown to the compiler, lest it keeps what it loads for the first in registers until the second.
  if constexpr (kInput == 1) asm("" : "+r"(offset));
  FloatVector weights[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::byte* const group = weight.panel(first_panel + v / kPanelVectors) + offset;
    weights[v] = GroupPart<kFormat>(group, v % kPanelVectors).template weights<kInput>(pair);
  }
  for (int r = 0; r < kRows; ++r) {
    const FloatVector input = hn::Set(Floats(), x[r * stride + kInput]);
    for (int v = 0; v < kVectors; ++v) sums.of[r][v] = hn::MulAdd(input, weights[v], sums.of[r][v]);
  }
}

template <WeightFormat kFormat, int kRows, int kPanels>
void widened_tile(const TileTask& task) {
  constexpr int kVectors = kPanels * kPanelVectors;
  Sums<kRows, kVectors> sums;
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sums.of[r][v] = hn::Zero(Floats());
  }
  const PackedWeight& weight = task.all->weight;
  const std::int64_t end = std::min((task.block + 1) * kBlockPairs, weight.pairs());
  for (std::int64_t first = task.block * kBlockPairs; first < end; first += kGroupPairs) {
    const float* const x = task.x + task.first_row * task.stride + 2 * first;
    const std::int64_t pairs = std::min(kGroupPairs, end - first);
    const std::int64_t offset = first / kGroupPairs * group_bytes(kFormat);
    for (std::int64_t p = 0; p < pairs; ++p) {
      add_input<0, kFormat>(weight, task.first_panel, offset, p, x + 2 * p, task.stride, sums);
      add_input<1, kFormat>(weight, task.first_panel, offset, p, x + 2 * p, task.stride, sums);
    }
  }
  const HostMatrix out = task.all->out;
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t column = task.first_panel * kPanelFeatures + v * kLanes;
    const std::int64_t count = std::min<std::int64_t>(kLanes, out.cols - column);
    if (count <= 0) break;
    for (int r = 0; r < kRows; ++r) {
      float values[kLanes];
      store(sums.of[r][v], values);
      float* const to = out.data + (task.first_row + r) * out.cols + column;
      for (std::int64_t i = 0; i < count; ++i) {
        const float before = task.block > 0           ? to[i]
                             : task.all->bias.empty() ? 0.0f
                                                      : task.all->bias[column + i];
        to[i] = before + values[i];
      }
    }
  }
}

template <WeightFormat kFormat, int... kRowsAndPanels>
void multiply_widened(const MatmulTask& task, const float* x, std::int64_t stride, std::int64_t begin,
                      std::int64_t end, std::integer_sequence<int, kRowsAndPanels...>) {
  using Tile = void (*)(const TileTask&);
  constexpr Tile kTiles[] = {
      &widened_tile<kFormat, kRowsAndPanels / kMatmulPanels + 1, kRowsAndPanels % kMatmulPanels + 1>...};
  for_each_tile(task, kMatmulRows, kMatmulPanels, begin, end,
                [&](std::int64_t row, int rows, std::int64_t panel, int panels, std::int64_t block) {
                  kTiles[(rows - 1) * kMatmulPanels + panels - 1]({&task, x, stride, row, panel, block});
                });
}

// Panels [begin, end).   x [rows, 2 * pairs], where a panel's inputs stand
void multiply_in_float32(const MatmulTask& task, const float* x, std::int64_t stride, std::int64_t begin,
                         std::int64_t end) {
  constexpr auto kTiles = std::make_integer_sequence<int, kMatmulRows * kMatmulPanels>();
  switch (task.weight.shape().format) {
    case WeightFormat::f32:
      return multiply_widened<WeightFormat::f32>(task, x, stride, begin, end, kTiles);
    case WeightFormat::bf16:
      return multiply_widened<WeightFormat::bf16>(task, x, stride, begin, end, kTiles);
    case WeightFormat::int8:
      return multiply_widened<WeightFormat::int8>(task, x, stride, begin, end, kTiles);
    case WeightFormat::int4:
      return multiply_widened<WeightFormat::int4>(task, x, stride, begin, end, kTiles);
  }
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(multiply_in_float32);

namespace {

// Rows of x where a panel's inputs stand, or x itself where they stand so already.
ConstHostMatrix padded(ConstHostMatrix x, const PackedWeight& weight, std::vector<float>& memory) {
  const std::int64_t width = 2 * weight.pairs();
  if (width == x.cols) return x;
  memory.assign(static_cast<std::size_t>(x.rows * width), 0.0f);
  for (std::int64_t r = 0; r < x.rows; ++r) {
    std::ranges::copy(x.row(r), memory.begin() + r * width + weight.shape().columns_before);
  }
  return {memory.data(), x.rows, width};
}

}  // namespace

void CpuBackend::do_matmul(ConstMatrix x_address, const Weight& weight, Vector bias, Matrix out) {
  const MatmulTask task = {PackedWeight(weight), host_span(bias), host_matrix(out)};
  const ConstHostMatrix x = host_matrix(x_address);
  const std::int64_t grain =
      std::max<std::int64_t>(kTilePanels, items_per_part(x.rows * x.cols * kPanelFeatures));
  if (has_dot_units(weight.shape.format)) {
    rounded_.resize(x.rows, task.weight);
    threads_.parallel_for(x.rows, items_per_part(x.cols), [&](std::int64_t begin, std::int64_t end) {
      round_rows(x, task.weight, begin, end, rounded_);
    });
    threads_.parallel_for(task.weight.panels(), grain, [&](std::int64_t begin, std::int64_t end) {
      multiply_on_dot_units(task, rounded_, begin, end);
    });
    return;
  }
  const ConstHostMatrix inputs = padded(x, task.weight, padded_);
  threads_.parallel_for(task.weight.panels(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(multiply_in_float32)(task, inputs.data, inputs.cols, begin, end);
  });
}

}  // namespace sinkstream::kernels
#endif
