// Matrix products on the units of x86 processors that multiply pairs of 16 bits and add them: bf16 weights by
// bf16 activations (AVX-512 BF16), int8 and int4 weights by activations in 16-bit integers (AVX-512 VNNI,
// AVX2).
//
// Activations are rounded for it, each row by itself: to bf16, or in each group of inputs to multiples of a
// 32,767th of its largest. Sums are float32; those within a group of integers are exact.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cpu/matmul_task.h"
#include "kernels/quantization.h"

namespace sinkstream::kernels {

// Whether there are some for weights of the format, and the instruction set that the backend runs on is not
// below them.
bool has_dot_units(WeightFormat format);

// Rows of activations, rounded for weights of a format, where a panel's inputs stand.
struct RoundedRows {
  std::int64_t stride = 0;           // of `pairs`: whole cache lines
  std::vector<std::uint32_t> pairs;  // [rows, stride] two bf16 or int16
  // [rows, groups]; for quantized weights
  std::vector<float> scales;
  std::vector<float> sums;  // of the group's integers

  void resize(std::int64_t rows, const PackedWeight& weight);
};

// Rows [begin, end)
void round_rows(ConstHostMatrix x, const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                RoundedRows& rounded);

// Panels [begin, end) of the product
void multiply_on_dot_units(const MatmulTask& task, const RoundedRows& x, std::int64_t begin,
                           std::int64_t end);

// The same of int8 and int4 on AVX2.
void round_rows_on_avx2(ConstHostMatrix x, const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                        RoundedRows& rounded);
void multiply_on_avx2(const MatmulTask& task, const RoundedRows& x, std::int64_t begin, std::int64_t end);

}  // namespace sinkstream::kernels
