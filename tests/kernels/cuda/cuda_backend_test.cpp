// What the CUDA backend has beside its operations: graphs of steps that come again, transfers, failures.
#include "kernels/cuda/cuda_backend.h"

#include <gmock/gmock.h>

#include <numeric>

#include "base/error.h"
#include "parallel/communicator/in_process.h"
#include "tests/kernels/emulation/control.h"
#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

using cuda::emulation::fail_allocation;
using cuda::emulation::fail_kernel;
using testing::HasSubstr;

class CudaBackendTest : public testing::Test {
 protected:
  static constexpr CudaOptions kOptions = {.workspace_bytes = 1 << 20, .upload_segment_bytes = 1000};

  std::vector<std::unique_ptr<Communicator>> group_ = make_in_process_group(1);
  CudaBackend backend_{kOptions, *group_[0]};
};

// A few operations of one row of x, whose result is 2 * 2 * 2 * 2 * x.
class Step {
 public:
  Step(CudaBackend& backend, std::int64_t rows)
      : backend_(backend), x_(backend, rows, 3), out_(backend, rows, 3) {}

  Tensor of(float value) const {
    const Tensor x(Matrix(x_).rows, 3, value);
    backend_.upload(std::as_bytes(std::span(x.data)), Matrix(x_).data);
    for (int i = 0; i < 4; ++i) backend_.scale(2, x_);
    backend_.select_rows(x_, rows_, out_);
    return out_.read();
  }

 private:
  CudaBackend& backend_;
  DeviceTensor x_, out_;
  OnDevice<std::int32_t> rows_ = OnDevice<std::int32_t>(
      backend_, std::vector<std::int32_t>(static_cast<std::size_t>(Matrix(x_).rows), 0));
};

TEST_F(CudaBackendTest, AStepThatComesAgainIsAGraphAndSeesWhatIsThereNow) {
  const Step step(backend_, 2);
  for (const float value : {1.0f, 2.0f, 3.0f, 4.0f}) EXPECT_EQ(step.of(value).row(1)[2], 16 * value);
  EXPECT_EQ(backend_.graphs_launched(), 3);
}

// As when a slot is copied between two steps.
TEST_F(CudaBackendTest, CopiesBetweenStepsLeaveThemWhatTheyAre) {
  const Step step(backend_, 2);
  const OnDevice<float> from(backend_, std::vector<float>(8, 5.0f)),
      to(backend_, std::vector<float>(8, 0.0f));
  for (const float value : {1.0f, 2.0f, 3.0f}) {
    backend_.copy(DeviceSpan<float>(from).data, DeviceSpan<float>(to).data,
                  {.bytes = 4, .count = 4, .stride = 8});
    EXPECT_EQ(step.of(value).row(1)[2], 16 * value);
  }
  EXPECT_EQ(backend_.graphs_launched(), 2);
  EXPECT_EQ(to.read(), (std::vector<float>{5, 0, 5, 0, 5, 0, 5, 0}));
}

TEST_F(CudaBackendTest, StepsOfOtherShapesAreOtherGraphs) {
  std::vector<std::unique_ptr<Step>> steps;
  for (std::int64_t rows = 1; rows <= 5; ++rows) steps.push_back(std::make_unique<Step>(backend_, rows));
  for (const float value : {1.0f, 2.0f, 3.0f}) {
    for (const auto& step : steps) EXPECT_EQ(step->of(value).row(0)[0], 16 * value);
  }
  EXPECT_EQ(backend_.graphs_launched(), 10);
}

TEST_F(CudaBackendTest, TheOldestOfManyGraphsIsForgotten) {
  std::vector<std::unique_ptr<Step>> steps;
  for (std::int64_t rows = 1; rows <= 70; ++rows) steps.push_back(std::make_unique<Step>(backend_, rows));
  for (const float value : {1.0f, 2.0f}) {
    for (const auto& step : steps) EXPECT_EQ(step->of(value).row(0)[0], 16 * value);
  }
  EXPECT_EQ(backend_.graphs_launched(), 0) << "each was forgotten before it came again";
  EXPECT_EQ(steps.back()->of(3).row(0)[0], 48);
  EXPECT_EQ(backend_.graphs_launched(), 1);
}

TEST_F(CudaBackendTest, UploadsMayBeLargerThanWhatIsSetAside) {
  for (const std::int64_t size : {1, 999, 1000, 1001, 3999, 4000, 4001, 50'001}) {
    std::vector<std::byte> content(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) content[i] = static_cast<std::byte>(i * 7 + size);
    EXPECT_EQ(OnDevice<std::byte>(backend_, content).read(), content) << size;
  }
}

TEST_F(CudaBackendTest, ManyUploadsInFlightKeepWhatTheyWere) {
  const DeviceTensor all(backend_, 400, 5);
  std::vector<float> row(5);
  for (std::int64_t r = 0; r < 400; ++r) {
    std::ranges::fill(row, static_cast<float>(r));
    backend_.upload(std::as_bytes(std::span(row)), all.rows(r, 1).data);
  }
  const Tensor read = all.read();
  for (std::int64_t r = 0; r < 400; ++r) ASSERT_EQ(read.row(r)[4], static_cast<float>(r));
}

TEST_F(CudaBackendTest, DownloadsReachTheirPlaceAtTheirMarksWait) {
  const OnDevice<std::int32_t> values(backend_, {1, 2, 3});
  std::vector<std::int32_t> first(3), second(3);
  backend_.download(DeviceSpan<std::int32_t>(values).data, std::as_writable_bytes(std::span(first)));
  const auto first_mark = backend_.mark();
  const std::vector<std::int32_t> others = {4, 5, 6};
  backend_.upload(std::as_bytes(std::span(others)), DeviceSpan<std::int32_t>(values).data);
  backend_.download(DeviceSpan<std::int32_t>(values).data, std::as_writable_bytes(std::span(second)));
  const auto second_mark = backend_.mark();
  backend_.wait(first_mark);
  EXPECT_EQ(first, (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(second, (std::vector<std::int32_t>{0, 0, 0}));
  backend_.wait(second_mark);
  EXPECT_EQ(second, (std::vector<std::int32_t>{4, 5, 6}));
}

TEST_F(CudaBackendTest, AKernelThatFailsFailsEveryWaitFromThenOn) {
  const DeviceTensor x(backend_, Tensor(2, 2, 1.0f));
  wait_for_all(backend_);
  fail_kernel(1);
  backend_.scale(2, x);
  for (int i = 0; i < 3; ++i) {
    try {
      wait_for_all(backend_);
      ADD_FAILURE() << "wait " << i << " returned";
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), HasSubstr("CUDA"));
    }
  }
}

TEST_F(CudaBackendTest, MemoryThatIsNotToBeHadIsRefusedWithTheNumbers) {
  fail_allocation(1);
  try {
    backend_.allocate(12'345, "the cache of 3 sessions");
    ADD_FAILURE() << "allocated";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::device);
    EXPECT_THAT(error.what(), HasSubstr("the cache of 3 sessions: needs 12345 bytes"));
    EXPECT_THAT(error.what(), HasSubstr("are free"));
  }
  EXPECT_EQ(backend_.allocate(12'345, "the cache").bytes(), 12'345) << "and the next is had";
}

// What is put aside fails alone: the steps under way go on.
TEST_F(CudaBackendTest, PinnedMemoryThatIsNotToBeHadCostsNoStep) {
  const Buffer buffer = backend_.allocate(100, "a test");
  backend_.upload(std::vector<std::byte>(100, std::byte{7}), buffer.address());
  fail_allocation(1);
  try {
    backend_.allocate_in_host(12'345, "a parked session");
    ADD_FAILURE() << "allocated";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::device);
    EXPECT_THAT(error.what(), HasSubstr("a parked session: needs 12345 bytes of this host's memory"));
  }
  std::vector<std::byte> content(100);
  backend_.download(buffer.address(), content);
  backend_.wait(backend_.mark());
  EXPECT_EQ(content, std::vector<std::byte>(100, std::byte{7}));
  EXPECT_EQ(backend_.allocate_in_host(12'345, "a parked session").bytes(), 12'345) << "and the next is had";
}

TEST_F(CudaBackendTest, AWeightWiderThanTheWorkspaceHasRoomForRowsIsPackedInPieces) {
  Random random(3);
  const WholeWeight weight(random, WeightFormat::bf16, 100, 5000);  // 2 MB of float32
  const Weight packed = weight.on(backend_);
  const Weight at_once = backend_.allocate_weight(packed.shape);
  backend_.pack(ConstHostMatrix{weight.values.data.data(), 100, 5000}, 0, at_once);
  std::vector<std::int32_t> tokens(100);
  std::iota(tokens.begin(), tokens.end(), 0);
  const OnDevice<std::int32_t> rows(backend_, tokens);
  const DeviceTensor a(backend_, 100, 5000), b(backend_, 100, 5000);
  backend_.embed(rows, packed, 0, a);
  backend_.embed(rows, at_once, 0, b);
  expect_same_bits(a.read().data, b.read().data);
}

}  // namespace
}  // namespace sinkstream::kernels
