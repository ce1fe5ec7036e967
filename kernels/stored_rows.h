// Rows of a matrix as a file holds them: elements of f32, bf16 or f16 at any address, rows some bytes apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "kernels/host_matrix.h"
#include "kernels/types.h"

namespace sinkstream::kernels {

// A float32 or a smaller one that stands at any address.
template <typename T>
float read_float(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return to_float(value);
  }
}

// Elements from `from` on, as many as `out` has, as float32.
inline void read_floats(const std::byte* from, DType dtype, std::span<float> out) {
  const auto read = [&]<typename T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = read_float<T>(from + i * sizeof(T));
  };
  switch (dtype) {
    case DType::f32:
      std::memcpy(out.data(), from, out.size_bytes());
      break;
    case DType::bf16:
      read(bfloat16());
      break;
    case DType::f16:
      read(float16());
      break;
  }
}

struct StoredRows {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_bytes = 0;  // from one row's begin to the next's

  StoredRows() = default;
  StoredRows(const std::byte* first, DType type, std::int64_t row_count, std::int64_t col_count,
             std::int64_t stride)
      : data(first), dtype(type), rows(row_count), cols(col_count), row_bytes(stride) {}
  StoredRows(ConstHostMatrix matrix)
      : StoredRows(reinterpret_cast<const std::byte*>(matrix.data), DType::f32, matrix.rows, matrix.cols,
                   matrix.cols * static_cast<std::int64_t>(sizeof(float))) {}
  StoredRows(HostMatrix matrix) : StoredRows(ConstHostMatrix(matrix)) {}

  const std::byte* row(std::int64_t r) const { return data + r * row_bytes; }
  StoredRows some(std::int64_t first, std::int64_t count) const {
    return {row(first), dtype, count, cols, row_bytes};
  }
  // out [cols]
  void read(std::int64_t r, std::span<float> out) const { read_floats(row(r), dtype, out); }
};

}  // namespace sinkstream::kernels
