// The integer products of dot_units.h on AVX2, whose multiplication of 16-bit pairs adds the two: the same
// sums, and the same bits, as AVX-512 VNNI gives.
#include <hwy/base.h>

#include "kernels/cpu/dot_units.h"
#include "kernels/x86_intrinsics.h"

#if HWY_ARCH_X86

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <utility>

HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c")

namespace sinkstream::kernels {
namespace {

constexpr int kTileRows = 5;  // with a panel's weights and one pair of inputs, what the 16 registers can hold
constexpr int kHalves = 2;    // of a panel: 8 features each

// ---- Rounding

struct Inputs {
  __m256 of[4];
};

// A group of a row's padded inputs; zero where they are none of this rank's.
Inputs load_group(std::span<const float> row, std::int64_t columns_before, std::int64_t group) {
  const std::int64_t begin = group * kGroupSize - columns_before;
  const float* from = row.data() + begin;
  float padded[kGroupSize] = {};
  if (begin < 0 || begin + kGroupSize > std::ssize(row)) {
    for (std::int64_t i = std::max<std::int64_t>(0, -begin);
         i < std::min(kGroupSize, std::ssize(row) - begin); ++i) {
      padded[i] = row[static_cast<std::size_t>(begin + i)];
    }
    from = padded;
  }
  return {{_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8), _mm256_loadu_ps(from + 16),
           _mm256_loadu_ps(from + 24)}};
}

// The largest magnitude; infinity and NaN are larger than all numbers.
float largest_magnitude(const Inputs& inputs) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();
  for (const __m256& value : inputs.of) {
    largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(value), magnitude));
  }
  alignas(32) std::int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), largest);
  return std::bit_cast<float>(*std::max_element(lanes, lanes + 8));
}

void round_group(const Inputs& inputs, std::uint32_t* pairs, float& scale, float& sum) {
  const RoundingStep step = rounding_step(largest_magnitude(inputs), kLargestInt16);
  scale = step.scale;
  const __m256 factor = _mm256_set1_ps(step.factor);
  __m256i sums = _mm256_setzero_si256();
  for (std::size_t i = 0; i < std::size(inputs.of); ++i) {
    const __m256i whole = _mm256_cvtps_epi32(_mm256_mul_ps(inputs.of[i], factor));
    sums = _mm256_add_epi32(sums, whole);
    const __m128i narrow = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(pairs) + i, narrow);
  }
  alignas(32) std::int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sums);
  std::int32_t total = 0;
  for (const std::int32_t lane : lanes) total += lane;
  sum = static_cast<float>(total);
}

// ---- Products

__m256 load_bfloat16(const std::byte* from) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

// Pairs [kPairsTogether * index, ...) of half a group, as 16-bit integers [8 features][2 inputs].
template <WeightFormat kFormat>
HWY_INLINE void unpack(const std::byte* group, int index, int half,
                       __m256i (&pairs)[kPairsTogether<kFormat>]) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(group) + kHalves * index + half);
  if constexpr (kFormat == WeightFormat::int8) {
    pairs[0] = _mm256_cvtepi8_epi16(bytes);
  } else {
    const __m256i both = _mm256_cvtepu8_epi16(bytes);
    pairs[0] = _mm256_and_si256(both, _mm256_set1_epi16(15));
    pairs[1] = _mm256_srli_epi16(both, 4);
  }
}

template <int kRows>
struct Products {
  __m256i of[kRows][kHalves];
};

// The products of a group, summed.
template <WeightFormat kFormat, int kRows>
HWY_INLINE void multiply_group(const std::byte* panel, const std::uint32_t* rows, std::int64_t stride,
                               Products<kRows>& out) {
  constexpr int kTogether = kPairsTogether<kFormat>;
  Products<kRows> products = {};
  int count = kGroupPairs / kTogether;
  if (kRows > 1) asm("" : "+r"(count));  // a number that GCC knows makes it copy all products at each turn
  for (int i = 0; i < count; ++i) {
    __m256i weights[kHalves][kTogether];
    for (int h = 0; h < kHalves; ++h) unpack<kFormat>(panel, i, h, weights[h]);
    for (int j = 0; j < kTogether; ++j) {
      for (int r = 0; r < kRows; ++r) {
        const __m256i pair = _mm256_set1_epi32(static_cast<int>(rows[r * stride + kTogether * i + j]));
        for (int h = 0; h < kHalves; ++h) {
          products.of[r][h] = _mm256_add_epi32(products.of[r][h], _mm256_madd_epi16(weights[h][j], pair));
        }
      }
    }
  }
  // Through memory, lest the compiler keeps those that the scales will displace there during the loop, too.
  for (int r = 0; r < kRows; ++r) {
    for (int h = 0; h < kHalves; ++h) _mm256_store_si256(&out.of[r][h], products.of[r][h]);
  }
  if (kRows > 1) asm volatile("" : "+m"(out));
}

struct Block {
  std::int64_t first_row, panel, index;
};

template <int kRows>
void add_to_out(const MatmulTask& task, const Block& block, const __m256 (&sums)[kRows][kHalves]) {
  const std::int64_t column = block.panel * kPanelFeatures;
  const std::int64_t features = task.features(block.panel);
  for (int r = 0; r < kRows; ++r) {
    alignas(32) float values[kPanelFeatures];
    for (int h = 0; h < kHalves; ++h) _mm256_store_ps(values + 8 * h, sums[r][h]);
    float* const out = task.out.data + (block.first_row + r) * task.out.cols + column;
    for (std::int64_t i = 0; i < features; ++i) {
      const float before = block.index > 0 ? out[i] : task.bias.empty() ? 0.0f : task.bias[column + i];
      out[i] = before + values[i];
    }
  }
}

template <WeightFormat kFormat, int kRows>
void integer_tile(const MatmulTask& task, const RoundedRows& x, const Block& block) {
  constexpr std::int64_t kScales = kGroupPairs * pair_bytes(kFormat);
  constexpr std::int64_t kHalfOfScales = kPanelFeatures / kHalves * sizeof(bfloat16);
  const std::int64_t groups = task.weight.shape().groups();
  const std::int64_t first = block.index * kBlockGroups;
  const std::int64_t end = std::min(first + kBlockGroups, groups);
  __m256 sums[kRows][kHalves];
  for (auto& of_row : sums) {
    for (__m256& sum : of_row) sum = _mm256_setzero_ps();
  }
  for (std::int64_t g = first; g < end; ++g) {
    const std::byte* const panel = task.weight.panel(block.panel) + g * group_bytes(kFormat);
    const std::uint32_t* const rows = x.pairs.data() + block.first_row * x.stride + g * kGroupPairs;
    Products<kRows> products;
    multiply_group<kFormat, kRows>(panel, rows, x.stride, products);
    for (int h = 0; h < kHalves; ++h) {
      const std::byte* const scales = panel + kScales + h * kHalfOfScales;
      const __m256 weight_scale = load_bfloat16(scales);
      for (int r = 0; r < kRows; ++r) {
        const std::int64_t steps = (block.first_row + r) * groups + g;
        __m256 sum = _mm256_mul_ps(weight_scale, _mm256_cvtepi32_ps(products.of[r][h]));
        if constexpr (kFormat == WeightFormat::int4) {
          const __m256 minimum = load_bfloat16(scales + kPanelFeatures * sizeof(bfloat16));
          sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.sums[steps]), sum);
        }
        sums[r][h] = _mm256_fmadd_ps(_mm256_set1_ps(x.scales[steps]), sum, sums[r][h]);
      }
    }
  }
  add_to_out(task, block, sums);
}

using TileFunction = void (*)(const MatmulTask&, const RoundedRows&, const Block&);

// By rows - 1.
template <WeightFormat kFormat>
constexpr auto kTiles = []<int... kRows>(std::integer_sequence<int, kRows...>) {
  return std::array<TileFunction, kTileRows>{&integer_tile<kFormat, kRows + 1>...};
}
(std::make_integer_sequence<int, kTileRows>());

}  // namespace

void round_rows_on_avx2(ConstHostMatrix x, const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                        RoundedRows& rounded) {
  const std::int64_t groups = weight.shape().groups();
  for (std::int64_t r = begin; r < end; ++r) {
    std::uint32_t* const pairs = rounded.pairs.data() + r * rounded.stride;
    for (std::int64_t g = 0; g < groups; ++g) {
      round_group(load_group(x.row(r), weight.shape().columns_before, g), pairs + g * kGroupPairs,
                  rounded.scales[r * groups + g], rounded.sums[r * groups + g]);
    }
  }
}

void multiply_on_avx2(const MatmulTask& task, const RoundedRows& x, std::int64_t begin, std::int64_t end) {
  const auto& tiles = task.weight.shape().format == WeightFormat::int8 ? kTiles<WeightFormat::int8>
                                                                       : kTiles<WeightFormat::int4>;
  for_each_tile(task, kTileRows, 1, begin, end,
                [&](std::int64_t row, int count, std::int64_t panel, int, std::int64_t block) {
                  tiles[count - 1](task, x, {row, panel, block});
                });
}

}  // namespace sinkstream::kernels
HWY_POP_ATTRIBUTES

#endif
