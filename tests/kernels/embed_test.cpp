#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

class Embed : public OnEveryBackend {};

Tensor embed_on(Backend& backend, const std::vector<std::int32_t>& tokens, const WholeWeight& table,
                std::int64_t first_token) {
  const DeviceTensor out(backend, std::ssize(tokens), table.values.cols);
  const OnDevice<std::int32_t> rows(backend, tokens);
  backend.embed(rows, table.on(backend), first_token, out);
  return out.read();
}

TEST_P(Embed, IsExactForAnyNumberOfThreads) {
  for (const WeightFormat format : kWeightFormats) {
    for (const std::int64_t hidden : {1, 17, 33, 6007}) {
      SCOPED_TRACE(testing::Message() << name_of(format) << ", hidden " << hidden);
      Random random(8);
      const WholeWeight table(random, format, 5, hidden);
      // The table holds tokens 10 to 14.
      const std::vector<std::int32_t> tokens = {10, 14, 9, 15, 12, 12, 0, INT32_MAX, 11, 13, -1, 10, 14};
      const Tensor expected = embed_on(reference(), tokens, table, 10);
      for (const int threads : thread_counts()) {
        const Tensor actual = embed_on(*on_threads(threads), tokens, table, 10);
        expect_same_bits(actual.data, expected.data);
      }
    }
  }
}

TEST_P(Embed, ATokenOfAnotherRankIsZero) {
  Random random(9);
  const WholeWeight table(random, WeightFormat::f32, 2, 3);
  const Tensor out = embed_on(backend(), {3, 4, 6}, table, 4);
  expect_same_bits(out.row(0), std::vector<float>(3, 0.0f));
  expect_same_bits(out.row(1), table.values.row(0));
  expect_same_bits(out.row(2), std::vector<float>(3, 0.0f));
}

// Groups that stand for a kind each: what their values are once they have been packed, a few rows at a time.
TEST_P(Embed, OddGroupsHaveTheValuesOfTheReference) {
  constexpr std::int64_t kRows = 20;
  constexpr std::int64_t kWidth = 12 * kGroupSize + 5;
  Random random(10);
  Tensor values = random.matrix(kRows, kWidth);
  for (std::int64_t r = 0; r < kRows; ++r) {
    const auto group = [&](std::int64_t g) {
      return values.row(r).subspan(g * kGroupSize, std::min(kGroupSize, kWidth - g * kGroupSize));
    };
    group(0)[r] = NAN;
    group(1)[r] = INFINITY;
    group(2)[r] = -INFINITY;
    group(3)[r] = 3e38f;  // wider than float32 with the next
    group(3)[r + 1] = -3e38f;
    for (float& value : group(4)) value *= 1e-44f;
    for (float& value : group(5)) value *= 1e-38f;
    for (float& value : group(6)) value *= 1.5e38f;
    for (float& value : group(7)) value = 1.002f + 0.0005f * value;
    for (float& value : group(8)) value = -1.002f + 0.0005f * value;
    for (float& value : group(9)) value = 0.0f;
    for (float& value : group(10)) value = -0.0f;
    for (float& value : group(12)) value = 0.375f;
  }
  std::vector<std::int32_t> tokens(kRows);
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto read_back = [&](Backend& on, WeightFormat format) {
    const Weight weight = on.allocate_weight(weight_shape(format, kRows, {0, kWidth}, kWidth));
    on.pack(ConstHostMatrix{values.data.data(), 7, kWidth}, 0, weight);
    on.pack(ConstHostMatrix{values.row(7).data(), kRows - 7, kWidth}, 7, weight);
    const DeviceTensor out(on, kRows, kWidth);
    const OnDevice<std::int32_t> rows(on, tokens);
    on.embed(rows, weight, 0, out);
    std::vector<float> read = out.read().data;
    for (float& value : read) {
      if (std::isnan(value))
        value = std::numeric_limits<float>::quiet_NaN();  // devices have NaNs of their own
    }
    return read;
  };
  for (const WeightFormat format : kWeightFormats) {
    SCOPED_TRACE(name_of(format));
    expect_same_bits(read_back(backend(), format), read_back(reference(), format));
  }
}

// Rows as a file holds them, at odd addresses and with others' columns between them, in pieces that cut
// panels.
TEST_P(Embed, StoredRowsHaveTheValuesOfTheReference) {
  constexpr std::int64_t kRows = 70;
  std::vector<std::int32_t> tokens(kRows);
  std::iota(tokens.begin(), tokens.end(), 0);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const std::int64_t width : {1, 34, 64, 66, 160}) {
      const std::int64_t element = static_cast<std::int64_t>(size_of(dtype));
      const std::int64_t row_bytes = (width + 3) * element;
      std::vector<std::byte> file(static_cast<std::size_t>(kRows * row_bytes + 1));
      Tensor values(kRows, width);
      Random random(11);
      for (std::int64_t r = 0; r < kRows; ++r) {
        std::byte* const row = file.data() + 1 + r * row_bytes;
        for (std::int64_t i = 0; i < width; ++i) {
          const auto bits = std::bit_cast<std::uint32_t>(random.number());
          const std::uint32_t stored = dtype == DType::f32    ? bits
                                       : dtype == DType::bf16 ? bits >> 16
                                                              : bits >> 16 & 0xbbff;  // finite
          std::memcpy(row + i * element, &stored, static_cast<std::size_t>(element));
        }
        read_floats(row, dtype, values.row(r));
      }
      for (const WeightFormat format : kWeightFormats) {
        SCOPED_TRACE(testing::Message()
                     << name_of(dtype) << " to " << name_of(format) << ", width " << width);
        const WeightShape shape = weight_shape(format, kRows, {0, width}, width);
        const auto read_back = [&](Backend& on, const StoredRows& stored) {
          const Weight weight = on.allocate_weight(shape);
          for (const Range piece : {Range{0, 7}, Range{7, 57}, Range{57, kRows}}) {
            on.pack(stored.some(piece.begin, piece.size()), piece.begin, weight);
          }
          const DeviceTensor out(on, kRows, width);
          on.embed(OnDevice<std::int32_t>(on, tokens), weight, 0, out);
          return out.read();
        };
        const Tensor expected = read_back(reference(), ConstHostMatrix(values));
        for (const int threads : thread_counts()) {
          const Tensor actual =
              read_back(*on_threads(threads), {file.data() + 1, dtype, kRows, width, row_bytes});
          expect_same_bits(actual.data, expected.data);
        }
      }
    }
  }
}

INSTANTIATE_ON_EVERY_BACKEND(Embed);

}  // namespace
}  // namespace sinkstream::kernels
