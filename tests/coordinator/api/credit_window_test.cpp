#include "coordinator/api/generation/credit_window.h"

#include <gtest/gtest.h>

#include <random>

namespace sinkstream {
namespace {

TEST(CreditWindowTest, IsRenewedSeldomAndInTime) {
  for (const std::int64_t window : {1, 2, 3, 5, 17, 129, 256, 4096}) {
    CreditWindow credit(window);
    EXPECT_EQ(credit.granted(), window);
    std::int64_t grants = 0;
    const std::int64_t events = 20 * window;
    for (std::int64_t received = 1; received <= events; ++received) {
      ASSERT_LE(received, credit.granted()) << "the choice had to wait";
      if (const auto total = credit.renew(received, received)) {
        ++grants;
        ASSERT_EQ(*total, received + window);
      }
    }
    EXPECT_LE(grants, 2 * events / window);
  }
}

// What is in doubt counts as not taken: it may have to be taken back.
TEST(CreditWindowTest, GoesNoFurtherThanTheWindowBeyondWhatIsSettled) {
  std::mt19937 random(21);
  for (int round = 0; round < 300; ++round) {
    const auto window = static_cast<std::int64_t>(5 + random() % 60);
    CreditWindow credit(window);
    std::int64_t settled = 0;
    for (std::int64_t received = 1; received < 2000; ++received) {
      ASSERT_LE(received, credit.granted());
      if (random() % 8 == 0 || received - settled > window - 3) {
        settled += static_cast<std::int64_t>(random()) % (received - settled) + 1;
      }
      credit.renew(received, settled);
      ASSERT_LE(credit.granted(), settled + window);
      ASSERT_GT(credit.granted(), received);
    }
  }
}

TEST(CreditWindowTest, NobodyWaitsForEverForSomethingToBeSettled) {
  for (const std::int64_t window : {1, 2, 8, 17}) {
    CreditWindow credit(window);
    for (std::int64_t received = 1; received < 200; ++received) {
      ASSERT_LE(received, credit.granted());
      credit.renew(received, /*settled=*/0);
      ASSERT_LE(credit.granted(), std::max(window, received + 1));
    }
  }
}

TEST(CreditWindowTest, ABacklogThatHasGoneIsMadeUpForAtOnce) {
  CreditWindow credit(100);
  EXPECT_EQ(credit.renew(10, 10), std::nullopt);
  EXPECT_EQ(credit.renew(100, 100), 200);  // nobody asked meanwhile
  EXPECT_EQ(credit.renew(100, 100), std::nullopt);
}

}  // namespace
}  // namespace sinkstream
