// A point in a stream's work.
#pragma once

#include <memory>

#include "kernels/cuda/cuda_error.h"

namespace sinkstream::kernels::cuda {

class Event {
 public:
  Event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "an event");
    event_.reset(event);
  }

  // The work that `stream` has so far.
  void record(cudaStream_t stream) { check(cudaEventRecord(event_.get(), stream), "an event"); }
  // Whether that is done; true before the first record(). Throws what the work failed with.
  bool is_done() const {
    const cudaError_t error = cudaEventQuery(event_.get());
    if (error != cudaErrorNotReady) check(error, "work on the GPU");
    return error == cudaSuccess;
  }
  void wait() const { check(cudaEventSynchronize(event_.get()), "work on the GPU"); }

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, Destroy> event_;
};

}  // namespace sinkstream::kernels::cuda
