// Checks of arguments. Each operation checks once, in front of all backends; their loops then trust.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "kernels/device_memory.h"
#include "kernels/types.h"

namespace sinkstream::kernels {

// Prefixes every message with the operation's name.
class Checks {
 public:
  explicit Checks(std::string_view operation) : operation_(operation) {}

  void equal(std::string_view left, std::int64_t left_value, std::string_view right,
             std::int64_t right_value) const {
    if (left_value != right_value) fail(left, left_value, " must equal " + with_value(right, right_value));
  }

  // low <= value <= high
  void range(std::string_view name, std::int64_t value, std::int64_t low, std::int64_t high) const {
    if (value < low || value > high) {
      fail(name, value, " must be in [" + std::to_string(low) + ", " + std::to_string(high) + "]");
    }
  }

  void same_shape(std::string_view left, const ConstMatrix& left_matrix, std::string_view right,
                  const ConstMatrix& right_matrix) const {
    same_rows(left, left_matrix, right, right_matrix);
    equal(std::string(left) + ".cols", left_matrix.cols, std::string(right) + ".cols", right_matrix.cols);
  }
  void same_rows(std::string_view left, const ConstMatrix& left_matrix, std::string_view right,
                 const ConstMatrix& right_matrix) const {
    equal(std::string(left) + ".rows", left_matrix.rows, std::string(right) + ".rows", right_matrix.rows);
  }

  void positive(std::string_view name, float value) const {
    if (value > 0.0f) return;
    throw std::invalid_argument(std::string(operation_) + ": " + std::string(name) + " (" +
                                std::to_string(value) + ") must be positive");
  }

  void f32_or_bf16(std::string_view name, DType dtype) const {
    if (dtype == DType::f32 || dtype == DType::bf16) return;
    throw std::invalid_argument(std::string(operation_) + ": " + std::string(name) + " is " +
                                std::string(name_of(dtype)) + ", must be f32 or bf16");
  }

 private:
  static std::string with_value(std::string_view name, std::int64_t value) {
    return std::string(name) + " (" + std::to_string(value) + ")";
  }

  [[noreturn]] void fail(std::string_view name, std::int64_t value, const std::string& rule) const {
    throw std::invalid_argument(std::string(operation_) + ": " + with_value(name, value) + rule);
  }

  std::string_view operation_;
};

}  // namespace sinkstream::kernels
