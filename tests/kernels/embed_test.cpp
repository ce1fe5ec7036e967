#include <algorithm>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

class Embed : public OnEveryBackend {};

Tensor embed_on(Backend& backend, const std::vector<std::int32_t>& tokens, const WholeWeight& table,
                std::int64_t first_token) {
  const DeviceTensor out(backend, std::ssize(tokens), table.values.cols);
  const OnDevice<std::int32_t> rows(backend, tokens);
  backend.embed(rows, table.on(backend), first_token, out);
  return out.read();
}

TEST_P(Embed, IsExactForAnyNumberOfThreads) {
  for (const WeightFormat format : kWeightFormats) {
    for (const std::int64_t hidden : {1, 17, 33, 6007}) {
      SCOPED_TRACE(testing::Message() << name_of(format) << ", hidden " << hidden);
      Random random(8);
      const WholeWeight table(random, format, 5, hidden);
      // The table holds tokens 10 to 14.
      const std::vector<std::int32_t> tokens = {10, 14, 9, 15, 12, 12, 0, INT32_MAX, 11, 13, -1, 10, 14};
      const Tensor expected = embed_on(reference(), tokens, table, 10);
      for (const int threads : {1, 2, 3}) {
        const Tensor actual = embed_on(*on_threads(threads), tokens, table, 10);
        expect_same_bits(actual.data, expected.data);
      }
    }
  }
}

TEST_P(Embed, ATokenOfAnotherRankIsZero) {
  Random random(9);
  const WholeWeight table(random, WeightFormat::f32, 2, 3);
  const Tensor out = embed_on(backend(), {3, 4, 6}, table, 4);
  expect_same_bits(out.row(0), std::vector<float>(3, 0.0f));
  expect_same_bits(out.row(1), table.values.row(0));
  expect_same_bits(out.row(2), std::vector<float>(3, 0.0f));
}

INSTANTIATE_ON_EVERY_BACKEND(Embed);

}  // namespace
}  // namespace sinkstream::kernels
