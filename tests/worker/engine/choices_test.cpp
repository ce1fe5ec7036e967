// ChoicesTest of a request: they share what they have in common, and each says what a request alone says.
#include <gtest/gtest.h>

#include "tests/worker/engine/modelled_engine.h"

namespace sinkstream {
namespace {

class ChoicesTest : public testing::TestWithParam<int> {
 protected:
  ModelledEngine engine{GetParam(), small_limits()};
};

INSTANTIATE_TEST_SUITE_P(Depths, ChoicesTest, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(ChoicesTest, ChoicesOfAPromptTakeItInOnce) {
  for (const std::int32_t slots : {1, 2, 3, 16, 20}) {
    for (const std::int64_t length : {1, 2, 3, 40}) {
      SCOPED_TRACE(std::to_string(slots) + " slots, " + std::to_string(length) + " tokens");
      ModelledEngine among(GetParam(), small_limits(slots));
      const auto prompt = counting_tokens(length);
      Generate command = one_turn(prompt, 5);
      command.n = 16;
      command.params.sampling.seed = 70;
      const RequestId request = among.send(command);
      among.run();
      for (std::int32_t choice = 0; choice < 16; ++choice) {
        const Told& told = among.ledger.of(request, choice);
        EXPECT_EQ(told.tokens(), said_after(prompt, 5, 70 + static_cast<std::uint64_t>(choice))) << choice;
        ASSERT_EQ(told.ends.size(), 1u) << choice;
        EXPECT_EQ(told.ends[0].usage.seen_tokens, length + 4);
      }
      // Each choice has a row for the prompt's last token and for all but one of its own.
      const std::int64_t prefills = slots == 1 ? 16 : 1;  // with one slot there is nothing to copy to
      EXPECT_EQ(among.slots.rows, prefills * (length - 1) + 16 * 5);
      EXPECT_EQ(among.running(), 0);
      EXPECT_EQ(among.scheduler.waiting(), 0);
    }
  }
}

TEST_P(ChoicesTest, APromptIsScoredOnceForAllItsChoices) {
  for (const std::int32_t slots : {1, 2, 8}) {
    ModelledEngine among(GetParam(), small_limits(slots));
    Generate command = one_turn({}, 3);
    command.prompts = {counting_tokens(9), counting_tokens(1, 50), counting_tokens(20, 90)};
    command.n = 3;
    command.params.prompt_logprobs = true;
    const RequestId request = among.send(command);
    among.run();
    for (std::int32_t choice = 0; choice < 9; ++choice) {
      const Told& told = among.ledger.of(request, choice);
      const auto prompt = command.prompts[static_cast<std::size_t>(choice / 3)].list();
      std::vector<TokenId> expected = choice % 3 == 0 ? prompt : std::vector<TokenId>{};
      const auto said = said_after(prompt, 3, static_cast<std::uint64_t>(choice % 3));
      expected.insert(expected.end(), said.begin(), said.end());
      EXPECT_EQ(told.tokens(), expected) << choice;
      for (std::size_t i = 0; i + 3 < told.events.size(); ++i) {
        EXPECT_TRUE(told.events[i].from_prompt);
        EXPECT_EQ(told.events[i].position, static_cast<std::int64_t>(i));
        EXPECT_EQ(told.events[i].logprob.has_value(), i > 0);
      }
    }
  }
}

TEST_P(ChoicesTest, ChoicesThatOnlyReadTheirPromptEndAllTheSame) {
  Generate command = one_turn(counting_tokens(20), 0);
  command.n = 6;
  const RequestId request = engine.send(command);
  engine.run();
  for (std::int32_t choice = 0; choice < 6; ++choice) {
    const Told& told = engine.ledger.of(request, choice);
    EXPECT_TRUE(told.events.empty());
    ASSERT_EQ(told.ends.size(), 1u);
    EXPECT_EQ(told.ends[0].reason, FinishReason::length);
    EXPECT_EQ(told.ends[0].usage.seen_tokens, 20);
  }
}

TEST_P(ChoicesTest, ChoicesOfWhoHasASlotComeBeforeWhoWaits) {
  ModelledEngine among(GetParam(), small_limits(2));
  Generate many = one_turn(counting_tokens(10), 4);
  many.n = 3;
  const RequestId first = among.send(many);
  among.send(one_turn({5, 6}, 20));
  const RequestId later = among.send(one_turn({7}, 1));
  while (among.ledger.of(later).events.empty()) ASSERT_TRUE(among.step());
  EXPECT_EQ(among.ledger.of(first, 0).ends.size(), 1u);
  EXPECT_EQ(among.ledger.of(first, 1).ends.size(), 1u);
}

// Two that hold what they took in, each waiting for the other's slot: one of them must go on.
TEST_P(ChoicesTest, ChoicesThatHoldAllSlotsDoNotWaitForEachOther) {
  for (const std::int32_t slots : {1, 2, 3}) {
    ModelledEngine among(GetParam(), small_limits(slots));
    std::vector<RequestId> requests;
    for (int i = 0; i < 4; ++i) {
      Generate command = one_turn(counting_tokens(10 + 7 * i), 3);
      command.n = 3;
      requests.push_back(among.send(command));
    }
    among.run();
    for (int i = 0; i < 4; ++i) {
      for (std::int32_t choice = 0; choice < 3; ++choice) {
        EXPECT_EQ(among.ledger.of(requests[static_cast<std::size_t>(i)], choice).tokens(),
                  said_after(counting_tokens(10 + 7 * i), 3, static_cast<std::uint64_t>(choice)));
      }
    }
  }
}

TEST_P(ChoicesTest, ACancelEndsEveryChoiceOnceWhereverItIs) {
  for (int steps = 0; steps < 40; ++steps) {
    ModelledEngine among(GetParam(), small_limits(3));
    Generate command = one_turn(counting_tokens(30), 6);
    command.n = 7;
    const RequestId request = among.send(command);
    const RequestId other = among.send(one_turn(counting_tokens(9), 4));
    among.run(steps);
    among.scheduler.take(Cancel{request});
    for (std::int32_t choice = 0; choice < 7; ++choice) {
      EXPECT_EQ(among.ledger.of(request, choice).ends.size(), 1u) << choice << " after " << steps;
    }
    among.run();
    EXPECT_EQ(among.ledger.of(other).tokens(), said_after(counting_tokens(9), 4));
    EXPECT_EQ(among.running(), 0);
  }
}

}  // namespace
}  // namespace sinkstream
