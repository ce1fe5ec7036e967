// Matrices in this host's memory, which may be read and written: for backends that compute there, and for
// tests.
#pragma once

#include <cstdint>
#include <span>

namespace sinkstream::kernels {

// Row-major [rows, cols], rows one after the other.
template <typename T>
struct HostMatrixOf {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  std::span<T> row(std::int64_t r) const { return {data + r * cols, static_cast<std::size_t>(cols)}; }
  operator HostMatrixOf<const T>() const { return {data, rows, cols}; }
};
using HostMatrix = HostMatrixOf<float>;
using ConstHostMatrix = HostMatrixOf<const float>;

}  // namespace sinkstream::kernels
