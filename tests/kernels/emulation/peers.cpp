// Memory that other devices or other processes have.
#include <atomic>
#include <cstring>

#include "tests/kernels/emulation/control.h"
#include "tests/kernels/emulation/errors.h"
#include "tests/kernels/emulation/memory.h"

using namespace sinkstream::kernels::cuda::emulation;

namespace {

std::atomic<bool> peer_access = true;
std::atomic<bool> sharing = true;
std::atomic<bool> misdirected = false;
std::atomic<int> opened = 0;
constexpr std::size_t kMisdirectedBytes = 1 << 20;

int this_device() {
  int device = 0;
  cudaGetDevice(&device);
  return device;
}

bool reaches(int device, int peer) {
  return device == peer || peer_access;
}

}  // namespace

namespace sinkstream::kernels::cuda::emulation {

void set_peer_access(bool allowed) {
  peer_access = allowed;
}
void set_sharing(bool allowed) {
  sharing = allowed;
}
void misdirect_sharing(bool its_misdirected) {
  misdirected = its_misdirected;
}
int open_handles() {
  return opened;
}

}  // namespace sinkstream::kernels::cuda::emulation

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = device != peer && peer_access ? 1 : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned /*flags*/) {
  if (peer == this_device()) return failed(cudaErrorInvalidDevice, "a device is no peer of itself");
  return reaches(this_device(), peer) ? cudaSuccess : failed(cudaErrorPeerAccessUnsupported, "not allowed");
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* memory) {
  if (!sharing) return failed(cudaErrorInvalidResourceHandle, "memory may not be shared");
  if (Memory::instance().device_of(memory) < 0)
    return failed(cudaErrorInvalidValue, "a handle of what does not begin an allocation");
  std::memset(handle, 0, sizeof(*handle));
  std::memcpy(handle, &memory, sizeof(memory));
  return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void** memory, cudaIpcMemHandle_t handle, unsigned flags) {
  void* made = nullptr;
  std::memcpy(&made, &handle, sizeof(made));
  const int device = Memory::instance().device_of(made);
  if (device < 0) return failed(cudaErrorInvalidValue, "a handle of memory that is gone");
  if (flags != cudaIpcMemLazyEnablePeerAccess || !reaches(this_device(), device))
    return failed(cudaErrorPeerAccessUnsupported, "not allowed");
  if (misdirected) {
    made = Memory::instance().allocate(kMisdirectedBytes, Memory::Kind::device, this_device());
    std::memset(made, 0, kMisdirectedBytes);
  }
  *memory = made;
  ++opened;
  return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void* memory) {
  if (Memory::instance().device_of(memory) < 0)
    return failed(cudaErrorInvalidValue, "closing what was freed before");
  --opened;
  if (misdirected) Memory::instance().release(memory, Memory::Kind::device);
  return cudaSuccess;
}
