#include "kernels/cpu/dot_units.h"

#include <hwy/base.h>
#include <hwy/targets.h>

#include <stdexcept>

#include "kernels/x86_intrinsics.h"

#if HWY_ARCH_X86

#include <array>
#include <bit>
#include <utility>

HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx512vnni")

namespace sinkstream::kernels {
namespace {

constexpr int kTileRows = 6;        // with kTilePanels vectors of weights, what the 32 registers can hold
constexpr int kTileRowsOfInt4 = 5;  // which is unpacked to twice the vectors

__mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>((1u << count) - 1);
}

// ---- Rounding

// Values [16 * part, 16 * part + 16) of a row's padded inputs; zero where they are none of this rank's.
__m512 load_inputs(std::span<const float> row, std::int64_t columns_before, std::int64_t part) {
  const std::int64_t begin = 16 * part - columns_before;
  const std::int64_t skipped = std::clamp<std::int64_t>(-begin, 0, 16);
  const std::int64_t end = std::clamp<std::int64_t>(std::ssize(row) - begin, 0, 16);
  const auto mask = static_cast<__mmask16>(first_lanes(end) & ~first_lanes(skipped));
  return _mm512_maskz_loadu_ps(mask, row.data() + begin);
}

void round_to_bfloat16(std::span<const float> row, std::uint32_t* pairs, std::int64_t count) {
  for (std::int64_t part = 0; part * 8 < count; ++part) {
    const auto rounded = _mm512_cvtneps_pbh(load_inputs(row, 0, part));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs + part * 8), reinterpret_cast<__m256i>(rounded));
  }
}

// The largest magnitude; infinity and NaN are larger than all numbers.
float largest_magnitude(__m512 a, __m512 b) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __m512i largest = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                           _mm512_and_si512(_mm512_castps_si512(b), magnitude));
  return std::bit_cast<float>(_mm512_reduce_max_epi32(largest));
}

void round_group(__m512 a, __m512 b, std::uint32_t* pairs, float& scale, float& sum) {
  const RoundingStep step = rounding_step(largest_magnitude(a, b), kLargestInt16);
  scale = step.scale;
  const __m512 factor = _mm512_set1_ps(step.factor);
  const __m512i whole_a = _mm512_cvtps_epi32(_mm512_mul_ps(a, factor));
  const __m512i whole_b = _mm512_cvtps_epi32(_mm512_mul_ps(b, factor));
  auto* const to = reinterpret_cast<__m256i*>(pairs);
  _mm256_storeu_si256(to, _mm512_cvtsepi32_epi16(whole_a));
  _mm256_storeu_si256(to + 1, _mm512_cvtsepi32_epi16(whole_b));
  sum = static_cast<float>(_mm512_reduce_add_epi32(_mm512_add_epi32(whole_a, whole_b)));
}

// ---- Products

// A tile's accumulators, as they are after a block of inputs.
template <int kRows, int kPanels>
struct Sums {
  __m512 of[kRows][kPanels];
};

struct Block {
  std::int64_t first_row, first_panel, index;
};

template <int kRows, int kPanels>
HWY_INLINE void add_to_out(const MatmulTask& task, const Block& block, const Sums<kRows, kPanels>& sums) {
  for (int c = 0; c < kPanels; ++c) {
    const std::int64_t panel = block.first_panel + c;
    const __mmask16 mask = first_lanes(task.features(panel));
    const std::int64_t column = panel * kPanelFeatures;
    for (int r = 0; r < kRows; ++r) {
      float* const out = task.out.data + (block.first_row + r) * task.out.cols + column;
      __m512 before = _mm512_setzero_ps();
      if (block.index > 0) {
        before = _mm512_maskz_loadu_ps(mask, out);
      } else if (!task.bias.empty()) {
        before = _mm512_maskz_loadu_ps(mask, task.bias.data() + column);
      }
      _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(before, sums.of[r][c]));
    }
  }
}

template <int kRows, int kPanels>
HWY_INLINE void bfloat16_tile(const MatmulTask& task, const RoundedRows& x, const Block& block) {
  const std::int64_t first = block.index * kBlockPairs;
  const std::int64_t count = std::min(kBlockPairs, task.weight.pairs() - first);
  const std::uint32_t* const rows = x.pairs.data() + block.first_row * x.stride + first;
  const __m512i* panels[kPanels];
  for (int c = 0; c < kPanels; ++c) {
    panels[c] = reinterpret_cast<const __m512i*>(task.weight.panel(block.first_panel + c)) + first;
  }
  Sums<kRows, kPanels> sums = {};
  for (std::int64_t p = 0; p < count; ++p) {
    __m512bh weights[kPanels];
    for (int c = 0; c < kPanels; ++c)
      weights[c] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panels[c] + p));
    for (int r = 0; r < kRows; ++r) {
      const __m512i pair = _mm512_set1_epi32(static_cast<int>(rows[r * x.stride + p]));
      for (int c = 0; c < kPanels; ++c) {
        sums.of[r][c] = _mm512_dpbf16_ps(sums.of[r][c], weights[c], reinterpret_cast<__m512bh>(pair));
      }
    }
  }
  add_to_out(task, block, sums);
}

__m512 load_bfloat16(const std::byte* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// Pairs [kPairsTogether * index, ...) of a group, as 16-bit integers [16 features][2 inputs].
template <WeightFormat kFormat>
HWY_INLINE void unpack(const std::byte* group, int index, __m512i (&pairs)[kPairsTogether<kFormat>]) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(group) + index);
  if constexpr (kFormat == WeightFormat::int8) {
    pairs[0] = _mm512_cvtepi8_epi16(bytes);
  } else {
    const __m512i both = _mm512_cvtepu8_epi16(bytes);
    pairs[0] = _mm512_and_si512(both, _mm512_set1_epi16(15));
    pairs[1] = _mm512_srli_epi16(both, 4);
  }
}

template <int kRows, int kPanels>
struct Products {
  __m512i of[kRows][kPanels];
};

// The products of a group, summed.
template <WeightFormat kFormat, int kRows, int kPanels>
HWY_INLINE void multiply_group(const std::byte* const (&panels)[kPanels], const std::uint32_t* rows,
                               std::int64_t stride, Products<kRows, kPanels>& out) {
  constexpr int kTogether = kPairsTogether<kFormat>;
  Products<kRows, kPanels> products = {};
  int count = kGroupPairs / kTogether;
  if (kRows > 1) asm("" : "+r"(count));  // a number that GCC knows makes it copy all products at each turn
  for (int i = 0; i < count; ++i) {
    __m512i weights[kPanels][kTogether];
    for (int c = 0; c < kPanels; ++c) unpack<kFormat>(panels[c], i, weights[c]);
    for (int j = 0; j < kTogether; ++j) {
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = _mm512_set1_epi32(static_cast<int>(rows[r * stride + kTogether * i + j]));
        for (int c = 0; c < kPanels; ++c) {
          products.of[r][c] = _mm512_dpwssd_epi32(products.of[r][c], weights[c][j], pair);
        }
      }
    }
  }
  // Through memory, lest the compiler keeps those that the scales will displace there during the loop, too.
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kPanels; ++c) _mm512_store_si512(&out.of[r][c], products.of[r][c]);
  }
  if (kRows > 1) asm volatile("" : "+m"(out));
}

template <WeightFormat kFormat, int kRows, int kPanels>
HWY_INLINE void integer_tile(const MatmulTask& task, const RoundedRows& x, const Block& block) {
  constexpr std::int64_t kScales = kGroupPairs * pair_bytes(kFormat);
  const std::int64_t groups = task.weight.shape().groups();
  const std::int64_t first = block.index * kBlockGroups;
  const std::int64_t end = std::min(first + kBlockGroups, groups);
  Sums<kRows, kPanels> sums = {};
  for (std::int64_t g = first; g < end; ++g) {
    const std::byte* panels[kPanels];
    for (int c = 0; c < kPanels; ++c) {
      panels[c] = task.weight.panel(block.first_panel + c) + g * group_bytes(kFormat);
    }
    const std::uint32_t* const rows = x.pairs.data() + block.first_row * x.stride + g * kGroupPairs;
    Products<kRows, kPanels> products;
    multiply_group<kFormat, kRows, kPanels>(panels, rows, x.stride, products);
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t steps = (block.first_row + r) * groups + g;
      for (int c = 0; c < kPanels; ++c) {
        const __m512 weight_scale = load_bfloat16(panels[c] + kScales);
        __m512 sum = _mm512_mul_ps(weight_scale, _mm512_cvtepi32_ps(products.of[r][c]));
        if constexpr (kFormat == WeightFormat::int4) {
          const __m512 minimum = load_bfloat16(panels[c] + kScales + kPanelFeatures * sizeof(bfloat16));
          sum = _mm512_fmadd_ps(minimum, _mm512_set1_ps(x.sums[steps]), sum);
        }
        sums.of[r][c] = _mm512_fmadd_ps(_mm512_set1_ps(x.scales[steps]), sum, sums.of[r][c]);
      }
    }
  }
  add_to_out(task, block, sums);
}

using TileFunction = void (*)(const MatmulTask&, const RoundedRows&, const Block&);

template <WeightFormat kFormat, int kRows, int kPanels>
void tile(const MatmulTask& task, const RoundedRows& x, const Block& block) {
  if constexpr (kFormat == WeightFormat::bf16) {
    bfloat16_tile<kRows, kPanels>(task, x, block);
  } else {
    integer_tile<kFormat, kRows, kPanels>(task, x, block);
  }
}

// By rows - 1 and panels - 1.
using TileFunctions = std::array<std::array<TileFunction, kTilePanels>, kTileRows>;

template <WeightFormat kFormat>
constexpr TileFunctions tile_functions() {
  const auto of_rows = []<int kRows, int... kPanels>(std::integral_constant<int, kRows>,
                                                     std::integer_sequence<int, kPanels...>) {
    return std::array<TileFunction, kTilePanels>{&tile<kFormat, kRows, kPanels + 1>...};
  };
  return [&]<int... kRows>(std::integer_sequence<int, kRows...>) {
    return TileFunctions{
        of_rows(std::integral_constant<int, kRows + 1>(), std::make_integer_sequence<int, kTilePanels>())...};
  }
  (std::make_integer_sequence<int, kTileRows>());
}

constexpr TileFunctions kBfloat16Tiles = tile_functions<WeightFormat::bf16>();
constexpr TileFunctions kInt8Tiles = tile_functions<WeightFormat::int8>();
constexpr TileFunctions kInt4Tiles = tile_functions<WeightFormat::int4>();

const TileFunctions& tiles_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::bf16:
      return kBfloat16Tiles;
    case WeightFormat::int8:
      return kInt8Tiles;
    case WeightFormat::int4:
      return kInt4Tiles;
    case WeightFormat::f32:
      break;
  }
  throw std::logic_error("dot units: float32 has none");
}

void round_rows_on_avx512(ConstHostMatrix x, const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                          RoundedRows& rounded) {
  const std::int64_t groups = weight.shape().groups();
  for (std::int64_t r = begin; r < end; ++r) {
    std::uint32_t* const pairs = rounded.pairs.data() + r * rounded.stride;
    if (weight.shape().format == WeightFormat::bf16) {
      round_to_bfloat16(x.row(r), pairs, weight.pairs());
      continue;
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      round_group(load_inputs(x.row(r), weight.shape().columns_before, 2 * g),
                  load_inputs(x.row(r), weight.shape().columns_before, 2 * g + 1), pairs + g * kGroupPairs,
                  rounded.scales[r * groups + g], rounded.sums[r * groups + g]);
    }
  }
}

void multiply_on_avx512(const MatmulTask& task, const RoundedRows& x, std::int64_t begin, std::int64_t end) {
  const TileFunctions& tiles = tiles_of(task.weight.shape().format);
  const int rows = task.weight.shape().format == WeightFormat::int4 ? kTileRowsOfInt4 : kTileRows;
  for_each_tile(task, rows, kTilePanels, begin, end,
                [&](std::int64_t row, int count, std::int64_t panel, int panels, std::int64_t block) {
                  tiles[count - 1][panels - 1](task, x, {row, panel, block});
                });
}

}  // namespace
}  // namespace sinkstream::kernels
HWY_POP_ATTRIBUTES

namespace sinkstream::kernels {

namespace {

// Of Highway's instruction sets, better ones have lower bits.
std::int64_t best_target() {
  const std::int64_t sets = hwy::SupportedTargets();
  return sets & -sets;
}

bool is_on_avx512() {
  static const bool there = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  return there && best_target() <= HWY_AVX3;
}

}  // namespace

bool has_dot_units(WeightFormat format) {
  if (format == WeightFormat::f32) return false;
  return is_on_avx512() || (is_quantized(format) && best_target() == HWY_AVX2);
}

void round_rows(ConstHostMatrix x, const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                RoundedRows& rounded) {
  return is_on_avx512() ? round_rows_on_avx512(x, weight, begin, end, rounded)
                        : round_rows_on_avx2(x, weight, begin, end, rounded);
}

void multiply_on_dot_units(const MatmulTask& task, const RoundedRows& x, std::int64_t begin,
                           std::int64_t end) {
  return is_on_avx512() ? multiply_on_avx512(task, x, begin, end) : multiply_on_avx2(task, x, begin, end);
}

}  // namespace sinkstream::kernels

#else

namespace sinkstream::kernels {

bool has_dot_units(WeightFormat) {
  return false;
}

void round_rows(ConstHostMatrix, const PackedWeight&, std::int64_t, std::int64_t, RoundedRows&) {
  throw std::logic_error("dot units: this processor has none");
}

void multiply_on_dot_units(const MatmulTask&, const RoundedRows&, std::int64_t, std::int64_t) {
  throw std::logic_error("dot units: this processor has none");
}

}  // namespace sinkstream::kernels

#endif

namespace sinkstream::kernels {

void RoundedRows::resize(std::int64_t rows, const PackedWeight& weight) {
  // An odd number of cache lines, so that the rows of a tile don't meet in the same places of a cache.
  constexpr std::int64_t kLine = 64 / sizeof(std::uint32_t);
  stride = (weight.pairs() + kLine - 1) / kLine * kLine;
  if (stride / kLine % 2 == 0) stride += kLine;
  const auto grow = [](auto& values, std::int64_t size) {
    if (std::ssize(values) < size) values.resize(static_cast<std::size_t>(size));
  };
  grow(pairs, rows * stride);
  if (!is_quantized(weight.shape().format)) return;
  grow(scales, rows * weight.shape().groups());
  grow(sums, rows * weight.shape().groups());
}

}  // namespace sinkstream::kernels
