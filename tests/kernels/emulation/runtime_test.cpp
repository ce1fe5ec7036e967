// That the emulated runtime does what CUDA's does, late, and that what breaks its rules is found.
#include <cstring>
#include <thread>

#include "tests/kernels/emulation/on_gpu.h"

namespace sinkstream::kernels::cuda {
namespace {

using emulation::fail_allocation;
using emulation::fail_kernel;
using testing::AllOf;
using testing::HasSubstr;

class EmulatedRuntime : public Emulation {
 protected:
  void TearDown() override {
    fail_allocation(0);
    fail_kernel(0);
    emulation::set_devices(1);
    cudaSetDevice(0);
    Emulation::TearDown();
  }
};

__global__ void add(int* to, int value) {
  to[threadIdx.x] += value;
}
__global__ void nothing() {}
__global__ void read_at(const int* from, std::ptrdiff_t at, int* to) {
  *to = from[at];
}

template <typename T>
struct Pinned {
  explicit Pinned(std::size_t count) { check(cudaMallocHost(&data, count * sizeof(T)), "pinned memory"); }
  ~Pinned() { cudaFreeHost(data); }
  T* data = nullptr;
};

// ---- Memory

TEST_F(EmulatedRuntime, MemoryIsPoisonedAndCounted) {
  const std::size_t before = emulation::allocated_bytes();
  std::size_t free_before = 0, free_now = 0, total = 0;
  check(cudaMemGetInfo(&free_before, &total), "memory");
  const OnGpu<unsigned> memory(1000);
  EXPECT_EQ(memory.read(stream_), std::vector<unsigned>(1000, 0xffffffffu));
  EXPECT_EQ(emulation::allocated_bytes() - before, 4000u);
  check(cudaMemGetInfo(&free_now, &total), "memory");
  EXPECT_EQ(free_before - free_now, 4000u);
}

TEST_F(EmulatedRuntime, MoreMemoryThanThereIsIsRefused) {
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, std::size_t{1} << 40), cudaErrorMemoryAllocation);
  EXPECT_EQ(memory, nullptr);
  EXPECT_THAT(cudaGetErrorString(cudaErrorMemoryAllocation),
              HasSubstr("out of memory: cudaMalloc of 1099511627776"));
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "it is told once";
}

TEST_F(EmulatedRuntime, TheNthAllocationFailsWhenATestWantsIt) {
  fail_allocation(2);
  void *first = nullptr, *second = nullptr, *third = nullptr;
  EXPECT_EQ(cudaMalloc(&first, 8), cudaSuccess);
  EXPECT_EQ(cudaMallocHost(&second, 8), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMallocHost(&third, 8), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(first), cudaErrorInvalidValue) << "it is the device's";
  EXPECT_EQ(cudaFree(first), cudaSuccess);
  EXPECT_EQ(cudaFree(first), cudaErrorInvalidValue) << "twice";
  EXPECT_EQ(cudaFreeHost(third), cudaSuccess);
}

using EmulatedRuntimeDeathTest = EmulatedRuntime;

TEST_F(EmulatedRuntimeDeathTest, AnAccessBesideMemoryFaults) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const OnGpu<int> from(100), to(1);
  EXPECT_DEATH(
      {
        launch(read_at, {1, 1}, stream_, from.data(), 100, to.data());
        cudaStreamSynchronize(stream_);
      },
      "");
  EXPECT_DEATH(
      {
        int* gone = nullptr;
        cudaMalloc(&gone, 400);
        cudaFree(gone);
        launch(read_at, {1, 1}, stream_, gone, 0, to.data());
        cudaStreamSynchronize(stream_);
      },
      "");
}

TEST_F(EmulatedRuntime, CopiesBesideMemoryOrTheWrongWayAreRefused) {
  const OnGpu<int> there(4);
  std::vector<int> here(8);
  EXPECT_EQ(cudaMemcpyAsync(there.data(), here.data(), 20, cudaMemcpyHostToDevice, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(here.data(), there.data() + 1, 16, cudaMemcpyDeviceToHost, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(here.data(), there.data(), 16, cudaMemcpyHostToDevice, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(there.data(), here.data(), 16, cudaMemcpyDeviceToDevice, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(there.data(), here.data(), 16, cudaMemcpyDeviceToHost, stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemsetAsync(there.data(), 0, 17, stream_), cudaErrorInvalidValue);
  const OnGpu<int> other(8);
  const auto pieces = [&](int* to, std::size_t pitch, std::size_t width, std::size_t height) {
    return cudaMemcpy2DAsync(to, pitch, other.data(), 8, width, height, cudaMemcpyDeviceToDevice, stream_);
  };
  EXPECT_EQ(pieces(there.data(), 8, 8, 2), cudaSuccess);
  EXPECT_EQ(pieces(there.data(), 12, 4, 2), cudaSuccess);
  EXPECT_EQ(pieces(there.data(), 12, 8, 2), cudaErrorInvalidValue) << "to beside";
  EXPECT_EQ(pieces(there.data(), 0, 0, 5), cudaSuccess);
  EXPECT_EQ(pieces(there.data(), 2, 2, 5), cudaErrorInvalidValue) << "from beside";
  EXPECT_EQ(pieces(there.data(), 4, 8, 1), cudaErrorInvalidPitchValue);
  EXPECT_EQ(pieces(there.data(), std::size_t{1} << 31, 4, 1), cudaErrorInvalidPitchValue);
  EXPECT_EQ(pieces(here.data(), 8, 4, 1), cudaErrorInvalidValue) << "to the host";
  EXPECT_EQ(cudaMemcpyAsync(there.data(), here.data(), 16, cudaMemcpyDefault, stream_), cudaSuccess);
}

// ---- Streams and events

TEST_F(EmulatedRuntime, WorkIsLateButInOrder) {
  const OnGpu<int> to(std::vector<int>(1, 0));
  Pinned<int> seen(100);
  int late = 0;
  for (int i = 0; i < 100; ++i) {
    seen.data[i] = -1;
    launch(add, {1, 1}, stream_, to.data(), 1);
    check(cudaMemcpyAsync(&seen.data[i], to.data(), sizeof(int), cudaMemcpyDeviceToHost, stream_),
          "a download");
    if (seen.data[i] == -1) ++late;
  }
  EXPECT_GT(late, 20);
  EXPECT_LT(late, 100) << "some work is done before anybody waits";
  check(cudaStreamSynchronize(stream_), "work");
  for (int i = 0; i < 100; ++i) ASSERT_EQ(seen.data[i], i + 1);
}

TEST_F(EmulatedRuntime, PinnedMemoryIsReadLateAndOtherMemoryAtOnce) {
  const OnGpu<int> to(1);
  Pinned<int> pinned(1);
  int late = 0;
  for (int i = 0; i < 50; ++i) {
    *pinned.data = 1;
    check(cudaMemcpyAsync(to.data(), pinned.data, sizeof(int), cudaMemcpyHostToDevice, stream_), "an upload");
    *pinned.data = 2;
    late += to.read(stream_)[0] == 2;
    int pageable = 3;
    check(cudaMemcpyAsync(to.data(), &pageable, sizeof(int), cudaMemcpyHostToDevice, stream_), "an upload");
    pageable = 4;
    ASSERT_EQ(to.read(stream_)[0], 3);
  }
  EXPECT_GT(late, 10);
}

TEST_F(EmulatedRuntime, AnEventIsThereWhenWhatStandsBeforeItIs) {
  const OnGpu<int> to(std::vector<int>(1, 0));
  Pinned<int> seen(1);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "an event");
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess) << "it was never recorded";
  int not_yet = 0;
  for (int i = 1; i <= 50; ++i) {
    for (int more = 0; more < 30; ++more) launch(nothing, {1, 1}, stream_);
    launch(add, {1, 1}, stream_, to.data(), 1);
    check(cudaMemcpyAsync(seen.data, to.data(), sizeof(int), cudaMemcpyDeviceToHost, stream_), "a download");
    check(cudaEventRecord(event, stream_), "an event");
    if (i % 2 == 0) {
      check(cudaEventSynchronize(event), "an event");
    } else {
      while (cudaEventQuery(event) == cudaErrorNotReady) ++not_yet;
    }
    ASSERT_EQ(*seen.data, i);
  }
  EXPECT_GT(not_yet, 0);
  check(cudaEventDestroy(event), "an event");
}

TEST_F(EmulatedRuntime, AStreamWaitsForAnother) {
  cudaStream_t other = nullptr;
  check(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), "a stream");
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "an event");
  const OnGpu<int> to(std::vector<int>(1, 0));
  for (int i = 1; i <= 20; ++i) {
    launch(add, {1, 1}, stream_, to.data(), 1);
    check(cudaEventRecord(event, stream_), "an event");
    check(cudaStreamWaitEvent(other, event), "a wait");
    ASSERT_EQ(to.read(other)[0], i);
  }
  check(cudaEventDestroy(event), "an event");
  check(cudaStreamDestroy(other), "a stream");
}

TEST_F(EmulatedRuntime, ThreadsOfTheHostHaveStreamsOfTheirOwn) {
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([number] {
      cudaStream_t stream = nullptr;
      check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
      for (int i = 0; i < 50; ++i) {
        const OnGpu<int> to(std::vector<int>(64, i));
        launch(add, {1, 64}, stream, to.data(), number);
        ASSERT_EQ(to.read(stream), std::vector<int>(64, i + number));
      }
      check(cudaStreamDestroy(stream), "a stream");
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(EmulatedRuntime, AStreamOfAnotherDeviceIsRefused) {
  emulation::set_devices(2);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_THROW(launch(nothing, {1, 1}, stream_), CudaError);
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_NO_THROW(launch(nothing, {1, 1}, stream_));
}

// ---- Failures

TEST_F(EmulatedRuntime, AFailedKernelFailsAllThatFollowsOnItsStream) {
  const OnGpu<int> to(std::vector<int>(1, 0));
  fail_kernel(2);
  launch(add, {1, 1}, stream_, to.data(), 1);
  int launched = 1;
  EXPECT_THROW(for (; launched < 100; ++launched) launch(add, {1, 1}, stream_, to.data(), 1), CudaError)
      << "sooner or later it is known";
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorLaunchFailure);
    EXPECT_THAT(cudaGetErrorString(cudaErrorLaunchFailure), HasSubstr("it was to fail"));
    EXPECT_EQ(cudaStreamQuery(stream_), cudaErrorLaunchFailure);
    EXPECT_EQ(cudaMemsetAsync(to.data(), 0, 4, stream_), cudaErrorLaunchFailure);
  }
  EXPECT_EQ(to.read(nullptr)[0], 1) << "what came after was not done";
}

TEST_F(EmulatedRuntime, ShapesThatNoGpuHasAreRefused) {
  const auto refusal = [&](const LaunchShape& shape) -> std::string {
    try {
      launch(nothing, shape, stream_);
      return "(not refused)";
    } catch (const CudaError& error) {
      return error.what();
    }
  };
  EXPECT_THAT(refusal({0, 32}), HasSubstr("a grid of 0 x 1 x 1 blocks"));
  EXPECT_THAT(refusal({dim3(1, 65536), 32}), HasSubstr("a grid of 1 x 65536 x 1 blocks"));
  EXPECT_THAT(refusal({1, 1025}), HasSubstr("a block of 1025 x 1 x 1 threads"));
  EXPECT_THAT(refusal({1, 0}), HasSubstr("a block of 0 x 1 x 1 threads"));
  EXPECT_THAT(refusal({1, 32, (48 << 10) + 1}), HasSubstr("(allow_shared)"));
  allow_shared(nothing, 100 << 10);
  EXPECT_EQ(refusal({1, 32, 100 << 10}), "(not refused)");
  EXPECT_THAT(refusal({1, 32, (100 << 10) + 1}), HasSubstr("102400 are allowed"));
  EXPECT_THROW(allow_shared(nothing, 228 << 10), CudaError);
}

// ---- Graphs

class EmulatedGraphs : public EmulatedRuntime {
 protected:
  void begin() { check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "a capture"); }
  cudaError_t end() { return cudaStreamEndCapture(stream_, &graph_); }
  void TearDown() override {
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
    EmulatedRuntime::TearDown();
  }

  cudaGraph_t graph_ = nullptr;
};

TEST_F(EmulatedGraphs, AreDoneAgainOnWhatIsThereThen) {
  const OnGpu<int> to(std::vector<int>(4, 0));
  Pinned<int> from(4);
  std::fill_n(from.data, 4, 1);
  begin();
  check(cudaMemcpyAsync(to.data(), from.data, 16, cudaMemcpyHostToDevice, stream_), "an upload");
  launch(add, {1, 4}, stream_, to.data(), 10);
  launch(add, {1, 2}, stream_, to.data(), 100);
  check(end(), "a capture");
  EXPECT_EQ(to.read(stream_), (std::vector<int>{0, 0, 0, 0})) << "recorded, not done";

  cudaGraphExec_t exec = nullptr;
  check(cudaGraphInstantiate(&exec, graph_, 0), "a graph");
  for (int i = 1; i <= 10; ++i) {
    std::fill_n(from.data, 4, i);
    check(cudaGraphLaunch(exec, stream_), "a graph");
    ASSERT_EQ(to.read(stream_), (std::vector<int>{110 + i, 110 + i, 10 + i, 10 + i}));
  }
  check(cudaGraphLaunch(exec, stream_), "a graph");
  check(cudaGraphExecDestroy(exec), "a graph");
  EXPECT_EQ(to.read(stream_)[0], 120) << "work that was launched outlives it";
}

TEST_F(EmulatedGraphs, WhatCannotBeCapturedIsAnErrorAndSpoilsThem) {
  const OnGpu<int> to(4);
  std::vector<int> pageable(4);
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "an event");
  void* memory = nullptr;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaMalloc(&memory, 4); },
      [&] { return cudaFree(nullptr); },
      [&] { return cudaStreamSynchronize(stream_); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaEventRecord(event, stream_); },
      [&] { return cudaEventQuery(event); },
      [&] { return cudaMemcpyAsync(to.data(), pageable.data(), 16, cudaMemcpyHostToDevice, stream_); },
      [&] { return cudaMemcpyAsync(pageable.data(), to.data(), 16, cudaMemcpyDeviceToHost, stream_); },
  };
  for (const auto& call : calls) {
    begin();
    launch(nothing, {1, 1}, stream_);
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
    EXPECT_EQ(end(), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph_, nullptr);
  }
  EXPECT_EQ(end(), cudaErrorInvalidValue) << "nothing is captured";
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeRelaxed), cudaErrorStreamCaptureUnsupported);
  begin();
  std::thread([&] { EXPECT_EQ(cudaEventQuery(event), cudaSuccess) << "another thread is free to"; }).join();
  EXPECT_EQ(end(), cudaSuccess);
  check(cudaEventDestroy(event), "an event");
}

}  // namespace
}  // namespace sinkstream::kernels::cuda
