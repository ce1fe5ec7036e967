#include "tests/kernels/emulation/errors.h"

#include <utility>

namespace sinkstream::kernels::cuda::emulation {
namespace {

struct Failure {
  cudaError_t error = cudaSuccess;
  std::string message;
};

thread_local Failure last_failure;
thread_local cudaError_t last_error = cudaSuccess;  // that cudaGetLastError has not taken yet

struct Words {
  cudaError_t error;
  const char* name;
  const char* meaning;
};

constexpr Words kWords[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorPeerAccessUnsupported, "cudaErrorPeerAccessUnsupported",
     "peer access is not supported between these two devices"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorPeerAccessAlreadyEnabled, "cudaErrorPeerAccessAlreadyEnabled",
     "peer access is already enabled"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const Words& words_of(cudaError_t error) {
  for (const Words& words : kWords) {
    if (words.error == error) return words;
  }
  return words_of(cudaErrorUnknown);
}

}  // namespace

cudaError_t failed(cudaError_t error, const std::string& message) {
  last_failure = {error, std::string(words_of(error).meaning) + ": " + message};
  last_error = error;
  return error;
}

}  // namespace sinkstream::kernels::cuda::emulation

using namespace sinkstream::kernels::cuda;

const char* cudaGetErrorName(cudaError_t error) {
  return emulation::words_of(error).name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const emulation::Failure& failure = emulation::last_failure;
  return error != cudaSuccess && failure.error == error ? failure.message.c_str()
                                                        : emulation::words_of(error).meaning;
}

cudaError_t cudaGetLastError() {
  return std::exchange(emulation::last_error, cudaSuccess);
}

cudaError_t cudaPeekAtLastError() {
  return emulation::last_error;
}
