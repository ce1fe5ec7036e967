// What the tests of the emulation share.
#pragma once

#include <gmock/gmock.h>

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/cuda/simt.h"
#include "tests/kernels/emulation/control.h"

namespace sinkstream::kernels::cuda {

// Memory of an emulated GPU.
template <typename T>
class OnGpu {
 public:
  explicit OnGpu(std::size_t count) : size_(count) { check(cudaMalloc(&data_, bytes()), "memory"); }
  explicit OnGpu(const std::vector<T>& values) : OnGpu(values.size()) {
    check(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice), "an upload");
  }
  ~OnGpu() { cudaFree(data_); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;

  T* data() const { return data_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  std::vector<T> read(cudaStream_t stream) const {
    std::vector<T> values(size_);
    check(cudaMemcpyAsync(values.data(), data_, bytes(), cudaMemcpyDeviceToHost, stream), "a download");
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

class Emulation : public testing::Test {
 protected:
  static constexpr int kSchedules = 12;  // some of each kind

  void SetUp() override {
    emulation::set_schedule(0);
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
  }
  void TearDown() override { cudaStreamDestroy(stream_); }

  // What is said of the work on the stream; empty: it went well. The stream is another then.
  std::string failure() {
    const cudaError_t error = cudaStreamSynchronize(stream_);
    const std::string message = error == cudaSuccess ? "" : cudaGetErrorString(error);
    if (error != cudaSuccess) {
      EXPECT_EQ(error, cudaErrorLaunchFailure);
      TearDown();
      check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
    }
    return message;
  }

  cudaStream_t stream_ = nullptr;
};

}  // namespace sinkstream::kernels::cuda
