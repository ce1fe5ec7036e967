#include "tests/kernels/emulation/runtime.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "tests/kernels/emulation/control.h"
#include "tests/kernels/emulation/errors.h"
#include "tests/kernels/emulation/memory.h"
#include "tests/kernels/emulation/multiprocessor.h"
#include "tests/kernels/emulation/stream.h"

using namespace sinkstream::kernels::cuda::emulation;

struct cudaEmulatedStream {
  std::shared_ptr<Stream> work = std::make_shared<Stream>();
  int device = 0;
  std::thread::id maker = std::this_thread::get_id();
};

struct cudaEmulatedEvent {
  using Time = std::chrono::steady_clock::time_point;
  std::shared_ptr<Stream> stream;  // that it was recorded on last
  std::uint64_t position = 0;      // work that it includes
  std::shared_ptr<std::atomic<Time>> time;
};

struct cudaEmulatedGraph {
  std::vector<Work> work;
};

struct cudaEmulatedGraphExec {
  std::vector<Work> work;
};

namespace {

// What threads have in common.
struct Runtime {
  struct Capture {
    std::thread::id thread;
    cudaStreamCaptureMode mode;
  };

  std::mutex mutex;
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  std::map<cudaStream_t, Capture> captures;
  std::map<const void*, std::size_t> shared_asked;  // bytes, by kernel
  cudaEmulatedStream null_stream;
  int devices = 1;
  int driver = 13000;
  int version = 13000;
  std::atomic<std::uint64_t> next_schedule{0};
  std::atomic<int> kernel_fails_in{0};
  std::atomic<std::uint64_t> kernels_done{0};
};

Runtime& runtime() {
  static auto* const runtime = new Runtime;  // never gone: streams may be used until the very end
  return *runtime;
}

thread_local int this_device = 0;

// Null if there is none.
cudaStream_t find(cudaStream_t stream) {
  if (stream == nullptr) return &runtime().null_stream;
  const std::lock_guard lock(runtime().mutex);
  return runtime().streams.contains(stream) ? stream : nullptr;
}

cudaError_t no_such(const char* what) {
  return failed(cudaErrorInvalidResourceHandle, std::string("no such ") + what);
}

cudaError_t outcome(const Stream& stream) {
  const std::optional<std::string> failure = stream.failure();
  return failure ? failed(cudaErrorLaunchFailure, *failure) : cudaSuccess;
}

// Calls that wait or allocate may not be made while a stream is captured, and spoil the capture.
cudaError_t outside_captures(const char* what) {
  const std::lock_guard lock(runtime().mutex);
  bool forbidden = false;
  for (const auto& [stream, capture] : runtime().captures) {
    const bool here = capture.thread == std::this_thread::get_id();
    if (capture.mode == cudaStreamCaptureModeGlobal ||
        (capture.mode == cudaStreamCaptureModeThreadLocal && here)) {
      stream->work->spoil_capture();
      forbidden = true;
    }
  }
  return forbidden
             ? failed(cudaErrorStreamCaptureUnsupported, std::string(what) + " while a stream is captured")
             : cudaSuccess;
}

cudaError_t not_captured(Stream& stream, const char* what) {
  if (!stream.capturing()) return cudaSuccess;
  stream.spoil_capture();
  return failed(cudaErrorStreamCaptureUnsupported, std::string(what) + " on a stream that is captured");
}

// Ranks are threads here, which stand for processes: none waits for the work of another, which may wait for
// its own.
std::vector<std::shared_ptr<Stream>> streams_of_this_thread() {
  const std::lock_guard lock(runtime().mutex);
  std::vector<std::shared_ptr<Stream>> mine{runtime().null_stream.work};
  for (const cudaStream_t stream : runtime().streams) {
    if (stream->maker == std::this_thread::get_id()) mine.push_back(stream->work);
  }
  return mine;
}

cudaError_t wait_for_all_streams() {
  cudaError_t error = cudaSuccess;
  for (const auto& stream : streams_of_this_thread()) {
    stream->wait_for_all();
    if (const cudaError_t its = outcome(*stream); its != cudaSuccess) error = its;
  }
  return error;
}

// Queues work, on a stream that works.
cudaError_t queue(cudaStream_t stream, Work work) {
  const cudaStream_t found = find(stream);
  if (found == nullptr) return no_such("stream");
  if (stream != nullptr && found->device != this_device) {
    return failed(cudaErrorInvalidResourceHandle, "a stream of device " + std::to_string(found->device) +
                                                      " while device " + std::to_string(this_device) +
                                                      " is set");
  }
  if (const cudaError_t error = outcome(*found->work); error != cudaSuccess) return error;
  found->work->add(std::move(work));
  return cudaSuccess;
}

cudaError_t allocate(void** memory, std::size_t bytes, Memory::Kind kind, const char* what) {
  if (const cudaError_t error = outside_captures(what); error != cudaSuccess) return error;
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  *memory = Memory::instance().allocate(bytes, kind, this_device);
  if (*memory == nullptr)
    return failed(cudaErrorMemoryAllocation, std::string(what) + " of " + std::to_string(bytes) + " bytes");
  return cudaSuccess;
}

cudaError_t release(void* memory, Memory::Kind kind, const char* what) {
  if (const cudaError_t error = outside_captures(what); error != cudaSuccess) return error;
  if (memory == nullptr) return cudaSuccess;
  wait_for_all_streams();
  if (Memory::instance().release(memory, kind)) return cudaSuccess;
  return failed(cudaErrorInvalidValue, std::string(what) + " of what was not allocated so");
}

bool on_device(const void* memory, std::size_t bytes) {
  return Memory::instance().contains(memory, bytes, Memory::Kind::device);
}

cudaMemcpyKind kind_of(const void* to, const void* from) {
  const bool to_device = Memory::instance().is(to, Memory::Kind::device);
  const bool from_device = Memory::instance().is(from, Memory::Kind::device);
  if (to_device) return from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice;
  return from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
}

cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device && !on_device(to, bytes))
    return failed(cudaErrorInvalidValue, "a copy to beside device memory");
  if (from_device && !on_device(from, bytes))
    return failed(cudaErrorInvalidValue, "a copy from beside device memory");
  if (!to_device && Memory::instance().is(to, Memory::Kind::device)) {
    return failed(cudaErrorInvalidValue, "a copy to the host, with an address of the device");
  }
  if (!from_device && Memory::instance().is(from, Memory::Kind::device)) {
    return failed(cudaErrorInvalidValue, "a copy from the host, with an address of the device");
  }
  return cudaSuccess;
}

}  // namespace

// ---- Control

namespace sinkstream::kernels::cuda::emulation {

void set_devices(int count) {
  runtime().devices = count;
}
void set_memory(std::size_t bytes_of_a_device) {
  Memory::instance().set_total(bytes_of_a_device);
}
void set_versions(int driver, int version) {
  runtime().driver = driver;
  runtime().version = version;
}
void set_schedule(std::uint64_t number) {
  runtime().next_schedule = number;
}
void fail_allocation(int n) {
  Memory::instance().fail_allocation(n);
}
void fail_kernel(int n) {
  runtime().kernel_fails_in = n;
}
std::size_t allocated_bytes() {
  return Memory::instance().allocated_bytes();
}
std::uint64_t allocations() {
  return Memory::instance().allocations();
}
std::uint64_t kernels_done() {
  return runtime().kernels_done;
}

}  // namespace sinkstream::kernels::cuda::emulation

// ---- Devices

cudaError_t cudaGetDeviceCount(int* count) {
  *count = runtime().devices;
  return *count > 0 ? cudaSuccess : failed(cudaErrorNoDevice, "none is emulated");
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= runtime().devices)
    return failed(cudaErrorInvalidDevice, std::to_string(device));
  this_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = this_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= runtime().devices)
    return failed(cudaErrorInvalidDevice, std::to_string(device));
  *properties = {.name = "emulated",
                 .totalGlobalMem = Memory::instance().total_bytes(),
                 .sharedMemPerBlock = kSharedUnasked,
                 .sharedMemPerBlockOptin = kMostShared,
                 .memPitch = kMostPitch,
                 .warpSize = kLanes,
                 .maxThreadsPerBlock = kMostThreads,
                 .major = 9,
                 .minor = 0,
                 .multiProcessorCount = 3,
                 .l2CacheSize = 1 << 20};
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = runtime().driver;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = runtime().version;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  *free_bytes = Memory::instance().free_bytes(this_device);
  *total_bytes = Memory::instance().total_bytes();
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = outside_captures("cudaDeviceSynchronize"); error != cudaSuccess) return error;
  return wait_for_all_streams();
}

// ---- Memory

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return allocate(memory, bytes, Memory::Kind::device, "cudaMalloc");
}

cudaError_t cudaFree(void* memory) {
  return release(memory, Memory::Kind::device, "cudaFree");
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return allocate(memory, bytes, Memory::Kind::pinned, "cudaMallocHost");
}

cudaError_t cudaFreeHost(void* memory) {
  return release(memory, Memory::Kind::pinned, "cudaFreeHost");
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (kind == cudaMemcpyDefault) kind = kind_of(to, from);
  if (const cudaError_t error = check_copy(to, from, bytes, kind); error != cudaSuccess) return error;
  const cudaStream_t found = find(stream);
  if (found == nullptr) return no_such("stream");
  const bool to_host = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyHostToHost;
  const bool from_host = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyHostToHost;
  const bool to_pageable = to_host && !Memory::instance().contains(to, bytes, Memory::Kind::pinned);
  const bool from_pageable = from_host && !Memory::instance().contains(from, bytes, Memory::Kind::pinned);
  if (to_pageable || from_pageable) {
    const cudaError_t error =
        not_captured(*found->work, "a copy between the device and memory that is not pinned");
    if (error != cudaSuccess) return error;
  }
  Work work = [to, from, bytes] { std::memcpy(to, from, bytes); };
  if (from_pageable) {  // it is read before the call returns
    const auto* const first = static_cast<const std::byte*>(from);
    work = [to, copy = std::vector(first, first + bytes)] { std::memcpy(to, copy.data(), copy.size()); };
  }
  if (const cudaError_t error = queue(stream, std::move(work)); error != cudaSuccess) return error;
  return to_pageable ? cudaStreamSynchronize(stream) : cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!on_device(to, bytes)) return failed(cudaErrorInvalidValue, "cudaMemset beside device memory");
  return queue(stream, [to, value, bytes] { std::memset(to, value, bytes); });
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch || std::max(to_pitch, from_pitch) > kMostPitch) {
    return failed(cudaErrorInvalidPitchValue, std::to_string(width) + " of " + std::to_string(from_pitch) +
                                                  " bytes to " + std::to_string(to_pitch));
  }
  if (width == 0 || height == 0) return cudaSuccess;
  const auto reach = [&](std::size_t pitch) { return (height - 1) * pitch + width; };
  if (kind == cudaMemcpyDefault) kind = kind_of(to, from);
  if (const cudaError_t error = check_copy(to, from, width, kind); error != cudaSuccess) {
    return error;
  }
  const auto is_emulated = [](const void* memory, std::size_t bytes) {
    return on_device(memory, bytes) || Memory::instance().contains(memory, bytes, Memory::Kind::pinned);
  };
  if (!is_emulated(to, reach(to_pitch)) || !is_emulated(from, reach(from_pitch)))
    return failed(cudaErrorInvalidValue,
                  "cudaMemcpy2DAsync is only emulated for the device's memory and pinned");
  return queue(stream, [=] {
    for (std::size_t row = 0; row < height; ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * to_pitch,
                  static_cast<const std::byte*>(from) + row * from_pitch, width);
    }
  });
}

cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  const cudaError_t error = cudaMemsetAsync(to, value, bytes, nullptr);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

// ---- Streams

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  auto* const created = new cudaEmulatedStream;
  created->device = this_device;
  const std::lock_guard lock(runtime().mutex);
  runtime().streams.insert(created);
  *stream = created;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr || find(stream) == nullptr) return no_such("stream");
  stream->work->wait_for_all();
  const std::lock_guard lock(runtime().mutex);
  runtime().captures.erase(stream);
  runtime().streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = outside_captures("cudaStreamSynchronize"); error != cudaSuccess) return error;
  const cudaStream_t found = find(stream);
  if (found == nullptr) return no_such("stream");
  if (const cudaError_t error = not_captured(*found->work, "cudaStreamSynchronize"); error != cudaSuccess)
    return error;
  found->work->wait_for_all();
  return outcome(*found->work);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (const cudaError_t error = outside_captures("cudaStreamQuery"); error != cudaSuccess) return error;
  const cudaStream_t found = find(stream);
  if (found == nullptr) return no_such("stream");
  if (!found->work->ask(found->work->added())) return cudaErrorNotReady;
  return outcome(*found->work);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  return queue(stream, [function, argument] { function(argument); });
}

// ---- Events

namespace {

bool exists(cudaEvent_t event) {
  const std::lock_guard lock(runtime().mutex);
  return runtime().events.contains(event);
}

}  // namespace

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  auto* const created = new cudaEmulatedEvent;
  const std::lock_guard lock(runtime().mutex);
  runtime().events.insert(created);
  *event = created;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (!exists(event)) return no_such("event");
  const std::lock_guard lock(runtime().mutex);
  runtime().events.erase(event);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (!exists(event)) return no_such("event");
  const cudaStream_t found = find(stream);
  if (found == nullptr) return no_such("stream");
  if (const cudaError_t error = not_captured(*found->work, "cudaEventRecord"); error != cudaSuccess)
    return error;
  const auto time = std::make_shared<std::atomic<cudaEmulatedEvent::Time>>();
  const cudaError_t error = queue(stream, [time] { *time = std::chrono::steady_clock::now(); });
  if (error != cudaSuccess) return error;
  event->stream = found->work;
  event->position = found->work->added();
  event->time = time;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t error = outside_captures("cudaEventSynchronize"); error != cudaSuccess) return error;
  if (!exists(event)) return no_such("event");
  if (event->stream == nullptr) return cudaSuccess;
  event->stream->wait(event->position);
  return outcome(*event->stream);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t error = outside_captures("cudaEventQuery"); error != cudaSuccess) return error;
  if (!exists(event)) return no_such("event");
  if (event->stream == nullptr) return cudaSuccess;
  if (!event->stream->ask(event->position)) return cudaErrorNotReady;
  return outcome(*event->stream);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  for (const cudaEvent_t event : {start, end}) {
    if (!exists(event) || event->time == nullptr) return no_such("event that was recorded");
    if (event->time->load() == cudaEmulatedEvent::Time())
      return failed(cudaErrorNotReady, "an event that nobody waited for");
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time->load() - start->time->load()).count();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  if (!exists(event)) return no_such("event");
  const cudaStream_t found = find(stream);
  if (found == nullptr) return no_such("stream");
  if (event->stream == nullptr || event->stream == found->work) return cudaSuccess;
  if (const cudaError_t error = not_captured(*found->work, "cudaStreamWaitEvent"); error != cudaSuccess)
    return error;
  return queue(stream, [other = event->stream, position = event->position] { other->wait(position); });
}

// ---- Graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream == nullptr)
    return failed(cudaErrorStreamCaptureUnsupported, "the null stream can't be captured");
  if (find(stream) == nullptr) return no_such("stream");
  if (stream->work->capturing()) return failed(cudaErrorInvalidValue, "the stream is captured already");
  if (const cudaError_t error = outcome(*stream->work); error != cudaSuccess) return error;
  const std::lock_guard lock(runtime().mutex);
  stream->work->begin_capture();
  runtime().captures[stream] = {std::this_thread::get_id(), mode};
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream == nullptr || find(stream) == nullptr) return no_such("stream");
  if (!stream->work->capturing()) return failed(cudaErrorInvalidValue, "the stream is not captured");
  {
    const std::lock_guard lock(runtime().mutex);
    runtime().captures.erase(stream);
  }
  std::vector<Work> work = stream->work->end_capture();
  if (stream->work->capture_spoiled()) {
    return failed(cudaErrorStreamCaptureInvalidated, "something was tried that can't be captured");
  }
  *graph = new cudaEmulatedGraph{std::move(work)};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const cudaStream_t found = find(stream);
  if (found == nullptr) return no_such("stream");
  *status = !found->work->capturing()        ? cudaStreamCaptureStatusNone
            : found->work->capture_spoiled() ? cudaStreamCaptureStatusInvalidated
                                             : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long /*flags*/) {
  *exec = new cudaEmulatedGraphExec{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t /*exec*/, cudaStream_t stream) {
  return queue(stream, [] {});
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const Work& work : exec->work) {
    if (const cudaError_t error = queue(stream, work); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

// ---- Kernels

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > kMostShared) {
    return failed(cudaErrorInvalidValue, std::to_string(value) + " bytes of shared memory");
  }
  const std::lock_guard lock(runtime().mutex);
  runtime().shared_asked[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

namespace sinkstream::kernels::cuda::emulation {
namespace {

constexpr unsigned kMostBlocksBelow = 65535;  // of y and z

std::string text(dim3 size) {
  return std::to_string(size.x) + " x " + std::to_string(size.y) + " x " + std::to_string(size.z);
}

cudaError_t check_shape(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > kMostBlocksBelow ||
      grid.z > kMostBlocksBelow) {
    return failed(cudaErrorInvalidConfiguration, "a grid of " + text(grid) + " blocks");
  }
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMostThreads || block.x > kMostThreads || block.y > kMostThreads ||
      block.z > 64) {
    return failed(cudaErrorInvalidConfiguration, "a block of " + text(block) + " threads");
  }
  const std::lock_guard lock(runtime().mutex);
  const auto asked = runtime().shared_asked.find(kernel);
  const std::size_t most =
      asked == runtime().shared_asked.end() ? kSharedUnasked : std::max(asked->second, kSharedUnasked);
  if (shared_bytes > most) {
    return failed(cudaErrorInvalidValue, std::to_string(shared_bytes) + " bytes of shared memory, where " +
                                             std::to_string(most) + " are allowed (allow_shared)");
  }
  return cudaSuccess;
}

void run(const Grid& grid) {
  if (runtime().kernel_fails_in > 0 && --runtime().kernel_fails_in == 0)
    throw KernelFailure("it was to fail");
  const std::uint64_t schedule = runtime().next_schedule++;
  if (grid.waits_for_peers) {
    run_together(grid, schedule);
  } else {
    Multiprocessor::of_this_thread().run(grid, schedule);
  }
  ++runtime().kernels_done;
}

}  // namespace

cudaError_t launch(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                   std::function<void()> body, bool waits_for_peers) {
  if (const cudaError_t error = check_shape(kernel, grid, block, shared_bytes); error != cudaSuccess)
    return error;
  const Grid work{grid, block, shared_bytes, std::move(body), waits_for_peers};
  return queue(stream, Work([work] { run(work); }, waits_for_peers));
}

}  // namespace sinkstream::kernels::cuda::emulation
