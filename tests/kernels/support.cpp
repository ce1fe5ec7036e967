#include "tests/kernels/support.h"

#include <hwy/targets.h>

#include <bit>
#include <cmath>
#include <functional>
#include <thread>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/dot_units.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/load_cuda.h"
#include "kernels/reference/reference_backend.h"
#include "parallel/communicator/in_process.h"
#include "tests/kernels/awkward/awkward_backend.h"
#include "tests/kernels/emulation/control.h"

namespace sinkstream::kernels {
namespace {

// Little scratch and small uploads, so that tests meet their limits.
constexpr CudaOptions kCudaOptions = {
    .workspace_bytes = 1 << 20, .upload_segment_bytes = 64 << 10, .through_host = true};

bool there_is_a_gpu() {
  try {
    return !search_gpus().gpus.empty();
  } catch (const std::exception&) {  // a build without CUDA
    return false;
  }
}

}  // namespace

double euclidean(std::span<const float> values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

void expect_close(ConstHostMatrix actual, ConstHostMatrix expected,
                  const std::function<double(std::int64_t, std::int64_t)>& bound) {
  ASSERT_EQ(actual.rows, expected.rows);
  ASSERT_EQ(actual.cols, expected.cols);
  double worst_excess = 0;
  std::string worst;
  for (std::int64_t r = 0; r < actual.rows; ++r) {
    for (std::int64_t c = 0; c < actual.cols; ++c) {
      const double error = std::abs(static_cast<double>(actual.row(r)[c]) - expected.row(r)[c]);
      const double allowed = bound(r, c);
      const double excess = error - allowed;
      if (excess <= worst_excess) continue;  // not so for NaN
      worst_excess = excess;
      worst = "element [" + std::to_string(r) + ", " + std::to_string(c) + "] is " +
              testing::PrintToString(actual.row(r)[c]) + ", expected " +
              testing::PrintToString(expected.row(r)[c]) + ", error " + testing::PrintToString(error) +
              " > bound " + testing::PrintToString(allowed);
      if (std::isnan(excess)) break;
    }
    if (std::isnan(worst_excess)) break;
  }
  EXPECT_TRUE(worst.empty()) << worst;
}

void expect_same_bits(std::span<const float> actual, std::span<const float> expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(actual[i]), std::bit_cast<std::uint32_t>(expected[i]))
        << "element " << i << " is " << actual[i] << ", expected " << expected[i];
  }
}

std::vector<BackendCase> backend_cases() {
  using Kind = BackendCase::Kind;
  std::vector<BackendCase> cases = {{Kind::reference, 0}};
  for (const std::int64_t set : hwy::SupportedAndGeneratedTargets()) cases.push_back({Kind::cpu, set});
  for (const std::int64_t set : hwy::SupportedAndGeneratedTargets()) cases.push_back({Kind::awkward, set});
  cases.push_back({Kind::cuda_emulated, 0});
  if (there_is_a_gpu()) cases.push_back({Kind::cuda, 0});
  return cases;
}

std::ostream& operator<<(std::ostream& out, const BackendCase& backend) {
  constexpr const char* kKinds[] = {"reference", "cpu", "awkward", "cuda_emulated", "cuda"};
  out << kKinds[static_cast<int>(backend.kind)];
  return backend.instruction_set == 0 ? out : out << '_' << hwy::TargetName(backend.instruction_set);
}

std::string backend_case_name(const testing::TestParamInfo<BackendCase>& info) {
  return testing::PrintToString(info.param);
}

void OnEveryBackend::SetUp() {
  hwy::SetSupportedTargetsForTest(GetParam().instruction_set);  // 0: as they are
  if (GetParam().instruction_set != 0) {
    ASSERT_STREQ(instruction_set(), hwy::TargetName(GetParam().instruction_set));
  }
  const std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
  cuda::emulation::set_schedule(std::hash<std::string>()(test));  // others in each test
  backend_ = on_threads(2);
  reference_ =
      std::make_unique<ReferenceBackend>(*groups_.emplace_back(std::move(make_in_process_group(1)[0])));
}

void OnEveryBackend::TearDown() {
  hwy::SetSupportedTargetsForTest(0);
}

bool OnEveryBackend::is_on_dot_units(WeightFormat format) {
  return GetParam().instruction_set != 0 && has_dot_units(format);
}

std::unique_ptr<Backend> OnEveryBackend::on_threads(int threads) {
  groups_.push_back(std::move(make_in_process_group(1)[0]));
  return make(*groups_.back(), threads);
}

std::unique_ptr<Backend> OnEveryBackend::make(Communicator& group, int threads) const {
  switch (GetParam().kind) {
    case BackendCase::Kind::reference:
      return std::make_unique<ReferenceBackend>(group);
    case BackendCase::Kind::cpu:
      return std::make_unique<CpuBackend>(threads, group);
    case BackendCase::Kind::awkward:
      return std::make_unique<AwkwardBackend>(group);
    case BackendCase::Kind::cuda_emulated:
      return std::make_unique<CudaBackend>(kCudaOptions, group);
    case BackendCase::Kind::cuda:
      return cuda_module().make_backend(kCudaOptions, group);
  }
  return nullptr;
}

void OnEveryBackend::on_ranks(int ranks, const std::function<void(Backend&, int)>& body) const {
  const auto group = make_in_process_group(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto mine = make(*group[static_cast<std::size_t>(rank)], 1);
      body(*mine, rank);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace sinkstream::kernels
