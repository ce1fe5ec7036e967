// Values of this host in a backend's memory and back.
#pragma once

#include <span>
#include <vector>

#include "tests/kernels/support.h"

namespace sinkstream::kernels {

// Waits for all that has been queued.
inline void wait_for_all(Backend& backend) {
  backend.wait(backend.mark());
}

template <typename T>
class OnDevice {
 public:
  OnDevice(Backend& backend, std::span<const T> values)
      : backend_(&backend),
        buffer_(backend.allocate(std::ssize(values) * std::int64_t{sizeof(T)}, "a test")) {
    backend.upload(std::as_bytes(values), buffer_.address());
  }
  OnDevice(Backend& backend, const std::vector<T>& values) : OnDevice(backend, std::span<const T>(values)) {}

  std::int64_t size() const { return buffer_.bytes() / std::int64_t{sizeof(T)}; }
  operator DeviceSpan<T>() const { return {buffer_.address(), size()}; }
  operator DeviceSpan<const T>() const { return {buffer_.address(), size()}; }

  std::vector<T> read() const {
    std::vector<T> values(size());
    backend_->download(buffer_.address(), std::as_writable_bytes(std::span(values)));
    wait_for_all(*backend_);
    return values;
  }

 private:
  Backend* backend_;
  Buffer buffer_;
};

class DeviceTensor {
 public:
  DeviceTensor(Backend& backend, const Tensor& tensor)
      : rows_(tensor.rows), cols_(tensor.cols), values_(backend, tensor.data) {}
  // What an operation is to write.
  DeviceTensor(Backend& backend, std::int64_t rows, std::int64_t cols)
      : DeviceTensor(backend, Tensor(rows, cols, kUnwritten)) {}

  operator Matrix() const { return {DeviceSpan<float>(values_).data, rows_, cols_}; }
  operator ConstMatrix() const { return Matrix(*this); }
  Matrix rows(std::int64_t first, std::int64_t count) const {
    return {Matrix(*this).data + first * cols_ * std::int64_t{sizeof(float)}, count, cols_};
  }

  Tensor read() const {
    Tensor tensor(rows_, cols_);
    tensor.data = values_.read();
    return tensor;
  }

 private:
  std::int64_t rows_;
  std::int64_t cols_;
  OnDevice<float> values_;
};

// A whole weight, as a checkpoint has it.
struct WholeWeight {
  WholeWeight(Random& random, WeightFormat weight_format, std::int64_t out_features, std::int64_t in_features)
      : format(weight_format), values(random.matrix(out_features, in_features)) {}

  // All of it, or some rows and columns.
  Weight on(Backend& backend) const { return on(backend, {0, values.rows}, {0, values.cols}); }
  Weight on(Backend& backend, Range rows, Range columns) const {
    const Weight weight = backend.allocate_weight(weight_shape(format, rows.size(), columns, values.cols));
    const Range needed = columns_to_pack(format, columns, values.cols);
    for (std::int64_t r = 0; r < rows.size(); ++r) {
      const auto row = values.row(rows.begin + r).subspan(needed.begin, needed.size());
      backend.pack(ConstHostMatrix{row.data(), 1, needed.size()}, r, weight);
    }
    return weight;
  }

  WeightFormat format;
  Tensor values;
};

inline constexpr WeightFormat kWeightFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8,
                                                  WeightFormat::int4};

}  // namespace sinkstream::kernels
