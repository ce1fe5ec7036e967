#include <cmath>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

class RotaryAnglesTest : public OnEveryBackend {};

struct Angles {
  Tensor cosines, sines;
};

Angles angles_on(Backend& backend, const std::vector<std::int64_t>& positions,
                 const std::vector<float>& inverse_frequencies) {
  const OnDevice<std::int64_t> of_rows(backend, positions);
  const OnDevice<float> frequencies(backend, inverse_frequencies);
  const DeviceTensor cosines(backend, of_rows.size(), frequencies.size());
  const DeviceTensor sines(backend, of_rows.size(), frequencies.size());
  backend.rotary_angles(of_rows, frequencies, cosines, sines);
  return {cosines.read(), sines.read()};
}

TEST_P(RotaryAnglesTest, AreExactToFloat32AtAnyPosition) {
  const std::vector<std::int64_t> positions = {0,       1,         2,         255,          4095,
                                               131'072, 4'000'000, 4'000'001, 1'000'000'007};
  for (const int half : {1, 3, 7, 32, 65}) {
    std::vector<float> frequencies;
    for (int i = 0; i < half; ++i) {
      frequencies.push_back(std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(half)));
    }
    const Angles actual = angles_on(backend(), positions, frequencies);
    const Angles expected = angles_on(reference(), positions, frequencies);
    const auto one_rounding = [](std::int64_t, std::int64_t) { return kEpsilon / 2; };
    expect_close(actual.cosines, expected.cosines, one_rounding);
    expect_close(actual.sines, expected.sines, one_rounding);
  }
}

TEST_P(RotaryAnglesTest, KnownValues) {
  // cos and sin of 4,000,000 radians, computed with 50 digits.
  const Angles angles = angles_on(backend(), {4'000'000}, {1.0f});
  EXPECT_NEAR(angles.cosines.data[0], 0.140077472730, kEpsilon);
  EXPECT_NEAR(angles.sines.data[0], -0.990140546404, kEpsilon);
}

INSTANTIATE_ON_EVERY_BACKEND(RotaryAnglesTest);

}  // namespace
}  // namespace sinkstream::kernels
