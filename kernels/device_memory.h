// Views of a backend's memory. What stands at an address only its backend may read or write; everybody else
// keeps addresses, counts with them and passes them to operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace sinkstream::kernels {

// A place in a backend's memory, in bytes. 0: none.
enum class Address : std::uintptr_t { none = 0 };

constexpr Address operator+(Address address, std::int64_t bytes) {
  return Address{static_cast<std::uintptr_t>(address) + static_cast<std::uintptr_t>(bytes)};
}

// So many pieces of memory, one every `stride` bytes; by default one piece.
struct Pieces {
  std::int64_t bytes = 0;  // of each
  std::int64_t count = 1;
  std::int64_t stride = 0;  // from one's begin to the next's
};

// `size` elements, one after the other.
template <typename T>
struct DeviceSpan {
  Address data = Address::none;
  std::int64_t size = 0;

  bool empty() const { return size == 0; }
  std::int64_t bytes() const { return size * static_cast<std::int64_t>(sizeof(T)); }
  DeviceSpan part(std::int64_t first, std::int64_t count) const {
    return {data + first * static_cast<std::int64_t>(sizeof(T)), count};
  }
  template <typename Const>
  requires(std::is_same_v<Const, const T> && !std::is_const_v<T>) operator DeviceSpan<Const>() const {
    return {data, size};
  }

  bool operator==(const DeviceSpan&) const = default;
};
using Vector = DeviceSpan<const float>;

// [rows, cols] float32, rows one after the other.
struct Matrix {
  Address data = Address::none;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  std::int64_t bytes() const { return rows * cols * static_cast<std::int64_t>(sizeof(float)); }
  Matrix first_rows(std::int64_t count) const { return {data, count, cols}; }

  bool operator==(const Matrix&) const = default;
};

// One that an operation only reads.
struct ConstMatrix {
  Address data = Address::none;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  ConstMatrix() = default;
  ConstMatrix(Matrix matrix) : data(matrix.data), rows(matrix.rows), cols(matrix.cols) {}
  std::int64_t bytes() const { return rows * cols * static_cast<std::int64_t>(sizeof(float)); }

  bool operator==(const ConstMatrix&) const = default;
};

// Memory of a backend, given back when the last copy goes; the backend must outlive it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Address address, std::int64_t bytes, std::shared_ptr<void> owner)
      : address_(address), bytes_(bytes), owner_(std::move(owner)) {}

  Address address() const { return address_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  Address address_ = Address::none;
  std::int64_t bytes_ = 0;
  std::shared_ptr<void> owner_;
};

}  // namespace sinkstream::kernels
