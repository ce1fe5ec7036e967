// What a key has left when; time passes when the test says so.
#include "coordinator/api/quota/token_quota.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "coordinator/http/message/request_error.h"

namespace sinkstream::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string value(const std::vector<Header>& headers, const std::string& name) {
  const auto found = std::ranges::find(headers, name, &Header::name);
  return found == headers.end() ? "" : found->value;
}

class TokenQuotaTest : public ::testing::Test {
 protected:
  std::shared_ptr<QuotaUse> begin(std::int64_t prompt_tokens, const std::string& owner = "a") {
    return quota.begin(owner, prompt_tokens, now, headers);
  }
  // Its headers.
  std::vector<Header> refusal(std::int64_t prompt_tokens) {
    try {
      begin(prompt_tokens);
      ADD_FAILURE() << "it is not refused";
      return {};
    } catch (const RequestError& error) {
      EXPECT_EQ(error.status, 429);
      EXPECT_EQ(error.code, "rate_limit_exceeded");
      return error.headers;
    }
  }
  std::string left() const { return value(headers, "x-ratelimit-remaining-tokens"); }

  TokenQuota quota{600};
  TokenQuota::TimePoint now{std::chrono::hours(1)};
  std::vector<Header> headers;
};

TEST_F(TokenQuotaTest, APromptIsChargedAndComesBack) {
  begin(100)->take_in();
  EXPECT_EQ(value(headers, "x-ratelimit-limit-tokens"), "600");
  EXPECT_EQ(left(), "500");
  EXPECT_EQ(value(headers, "x-ratelimit-reset-tokens"), "10s");
  now += seconds(4);
  begin(0)->take_in();
  EXPECT_EQ(left(), "540");
  now += milliseconds(5500);
  begin(0)->take_in();
  EXPECT_EQ(value(headers, "x-ratelimit-reset-tokens"), "500ms");
  now += seconds(1000);
  begin(600)->take_in();
  EXPECT_EQ(left(), "0") << "no more than a minute's is saved up";
  EXPECT_EQ(value(headers, "x-ratelimit-reset-tokens"), "1m0s");
}

TEST_F(TokenQuotaTest, WhatIsGeneratedIsWaitedForAfterwards) {
  const auto use = begin(200);
  use->take_in();
  for (int i = 0; i < 1000; ++i) use->generate();  // 600 more than there were
  const auto told = refusal(50);
  EXPECT_EQ(value(told, "Retry-After"), "65");
  EXPECT_EQ(value(told, "x-ratelimit-remaining-tokens"), "0");
  EXPECT_EQ(value(told, "x-ratelimit-reset-tokens"), "2m0s");
  EXPECT_EQ(quota.num_refusals(), 1);
  begin(50, "b");
  now += seconds(64);
  refusal(50);
  now += seconds(1);
  begin(50);
}

TEST_F(TokenQuotaTest, WhatWasNotTakenInIsNotCharged) {
  begin(600);
  begin(600);
  EXPECT_EQ(left(), "0");
  const auto use = begin(600);
  refusal(1);
}

TEST_F(TokenQuotaTest, AnEmptyPromptNeedsATokenToo) {
  const auto use = begin(600);
  refusal(0);
}

TEST_F(TokenQuotaTest, WhatNoMinuteHasIsNotToBeTriedAgain) {
  const auto told = refusal(601);
  EXPECT_EQ(value(told, "x-should-retry"), "false");
  EXPECT_EQ(value(told, "Retry-After"), "");
}

TEST_F(TokenQuotaTest, NoneIsNone) {
  TokenQuota none(std::nullopt);
  EXPECT_EQ(none.begin("a", 1'000'000'000, now, headers), nullptr);
  EXPECT_TRUE(headers.empty());
}

}  // namespace
}  // namespace sinkstream::testing
