#include <algorithm>

#include "kernels/cpu/reference.h"
#include "support.h"

namespace sinkstream::kernels {
namespace {

TEST(Embed, IsExactForAnyNumberOfThreads) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int64_t hidden : {1, 17, 6007}) {
      SCOPED_TRACE(testing::Message() << name_of(dtype) << ", hidden " << hidden);
      Random random(8);
      const Weight table(random, dtype, 5, hidden);
      // The table holds tokens 10 to 14.
      const std::vector<std::int32_t> tokens = {10, 14, 9, 15, 12, 12, 0, INT32_MAX, 11, 13, -1, 10, 14};
      Tensor expected(std::ssize(tokens), hidden);
      reference::embed(tokens, table.view(), 10, expected);
      for (const int threads : {1, 2, 3}) {
        ThreadPool pool(threads);
        Context context{pool};
        Tensor actual(std::ssize(tokens), hidden);
        std::ranges::fill(actual.data, 99.0f);
        embed(context, tokens, table.view(), 10, actual);
        expect_same_bits(actual.data, expected.data);
      }
    }
  }
}

TEST(Embed, ATokenOfAnotherRankIsZero) {
  Random random(9);
  const Weight table(random, DType::f32, 2, 3);
  ThreadPool threads(1);
  Context context{threads};
  Tensor out(3, 3);
  std::ranges::fill(out.data, 99.0f);
  embed(context, std::vector<std::int32_t>{3, 4, 6}, table.view(), 4, out);
  EXPECT_EQ(std::vector(out.data.begin(), out.data.begin() + 3), std::vector<float>(3, 0.0f));
  EXPECT_EQ(out.row(1)[2], table.f32[2]);
  EXPECT_EQ(std::vector(out.data.begin() + 6, out.data.end()), std::vector<float>(3, 0.0f));
}

}  // namespace
}  // namespace sinkstream::kernels
