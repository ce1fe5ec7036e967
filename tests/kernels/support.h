// What the tests of backends share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels {

inline constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
inline constexpr std::int64_t kFewestLanes = 4;  // of the instruction sets that the tests meet
inline constexpr float kUnwritten = 1e9f;        // what memory holds before; ruins any result that reads it

// Bound on the relative rounding error of a sum of `count` products, relative to the sum of their magnitudes:
// the longest chain of additions is that of the fewest lanes.
constexpr double sum_error(std::int64_t count) {
  return (static_cast<double>(count) / static_cast<double>(kFewestLanes) + 8) * kEpsilon;
}

// A matrix in this host's memory that owns its elements.
struct Tensor {
  Tensor(std::int64_t row_count, std::int64_t col_count, float value = 0)
      : rows(row_count), cols(col_count), data(row_count * col_count, value) {}

  std::span<float> row(std::int64_t r) { return HostMatrix(*this).row(r); }
  std::span<const float> row(std::int64_t r) const { return ConstHostMatrix(*this).row(r); }
  operator HostMatrix() { return {data.data(), rows, cols}; }
  operator ConstHostMatrix() const { return {data.data(), rows, cols}; }

  std::int64_t rows;
  std::int64_t cols;
  std::vector<float> data;
};

// Repeatable numbers in [-1, 1).
class Random {
 public:
  explicit Random(std::uint32_t seed) : engine_(seed) {}

  float number() { return static_cast<float>(engine_() >> 8) * 0x1p-23f - 1.0f; }
  std::vector<float> numbers(std::int64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = number();
    return values;
  }
  Tensor matrix(std::int64_t rows, std::int64_t cols) {
    Tensor tensor(rows, cols);
    tensor.data = numbers(rows * cols);
    return tensor;
  }

 private:
  std::mt19937 engine_;
};

double euclidean(std::span<const float> values);

// Fails, naming the worst element, unless |actual - expected| <= bound(row, column) everywhere.
void expect_close(ConstHostMatrix actual, ConstHostMatrix expected,
                  const std::function<double(std::int64_t, std::int64_t)>& bound);

// Fails, naming the first element, unless the bits are equal everywhere.
void expect_same_bits(std::span<const float> actual, std::span<const float> expected);

// Which backend a test runs on.
struct BackendCase {
  enum class Kind { reference, cpu, awkward, cuda_emulated, cuda } kind;
  std::int64_t instruction_set;  // of Highway; 0: the best there is

  bool is_cuda() const { return kind == Kind::cuda_emulated || kind == Kind::cuda; }
};

std::ostream& operator<<(std::ostream& out, const BackendCase& backend);
std::vector<BackendCase> backend_cases();
std::string backend_case_name(const testing::TestParamInfo<BackendCase>& info);

// Runs each test on every backend, those that run on this processor on each of its instruction sets.
class OnEveryBackend : public testing::TestWithParam<BackendCase> {
 protected:
  void SetUp() override;
  void TearDown() override;

  // One that each test has, of a group of one.
  Backend& backend() { return *backend_; }
  // What others are measured by.
  Backend& reference() { return *reference_; }
  // Numbers of threads of this host that must make no difference.
  static std::vector<int> thread_counts() {
    return GetParam().is_cuda() ? std::vector<int>{1} : std::vector<int>{1, 2, 3};
  }
  // The same kind on a number of threads, if it has any; new at each call.
  std::unique_ptr<Backend> on_threads(int threads);
  // Whether a product's activations are rounded to bf16 before it.
  static bool rounds_activations(WeightFormat format) {
    return is_on_dot_units(format) || (GetParam().is_cuda() && format != WeightFormat::f32);
  }
  // By how much they are rounded then, relative to the largest of a group.
  static double activation_step(WeightFormat format) {
    return is_quantized(format) && is_on_dot_units(format) ? 0.5 / 32767 : 0;
  }
  // One that runs `body` on each of several ranks' backends, at a time.
  void on_ranks(int ranks, const std::function<void(Backend&, int)>& body) const;

 private:
  static bool is_on_dot_units(WeightFormat format);
  std::unique_ptr<Backend> make(Communicator& group, int threads) const;

  std::vector<std::unique_ptr<Communicator>> groups_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> reference_;
};

#define INSTANTIATE_ON_EVERY_BACKEND(suite) \
  INSTANTIATE_TEST_SUITE_P(On, suite, testing::ValuesIn(backend_cases()), backend_case_name)

}  // namespace sinkstream::kernels
