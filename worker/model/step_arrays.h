// The tokens of one step in the backend's memory: always at the same addresses, brought there at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "worker/model/step_rows.h"

namespace sinkstream {

class StepArrays {
 public:
  StepArrays(std::int64_t max_rows, kernels::Backend& backend);
  // Of the backend's memory.
  static std::int64_t bytes(std::int64_t max_rows);

  void upload(const StepRows& step, kernels::Backend& backend);

  // Each [rows] of the step that was uploaded last.
  kernels::DeviceSpan<std::int32_t> tokens() const { return tokens_.view(memory_, rows_); }
  kernels::DeviceSpan<const std::int32_t> slots() const { return slots_.view(memory_, rows_); }
  kernels::DeviceSpan<const std::int64_t> true_positions() const {
    return true_positions_.view(memory_, rows_);
  }
  kernels::DeviceSpan<const std::int64_t> cache_positions() const {
    return cache_positions_.view(memory_, rows_);
  }
  kernels::DeviceSpan<const kernels::AttentionRow> attention() const {
    return attention_.view(memory_, rows_);
  }

 private:
  // Where an array stands in the memory.
  template <typename T>
  struct Place {
    std::int64_t offset = 0;

    kernels::DeviceSpan<T> view(const kernels::Buffer& memory, std::int64_t size) const {
      return {memory.address() + offset, size};
    }
  };

  template <typename T>
  Place<T> place(std::int64_t max_rows);
  template <typename T>
  void stage(const Place<T>& place, std::span<const T> values);

  std::vector<std::byte> staged_;  // what an upload brings
  Place<std::int64_t> true_positions_, cache_positions_;
  Place<kernels::AttentionRow> attention_;
  Place<std::int32_t> tokens_, slots_;
  kernels::Buffer memory_;
  std::int64_t rows_ = 0;
};

}  // namespace sinkstream
