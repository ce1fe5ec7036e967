#include "engine/messages.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "base/wire.h"

namespace sinkstream {
namespace {

using Bytes = std::vector<std::byte>;

// Every kind, each member with a value of its own.
std::vector<Command> every_command() {
  Generate generate;
  generate.request = 1;
  generate.session = ~std::uint64_t{0};
  generate.expected_tokens = 5'000'000'000;
  generate.prompts = {{1, 2, 3}, SharedTokens(), {99}};
  generate.n = 4;
  generate.params.max_tokens = 7;
  generate.params.ignore_eos = true;
  generate.params.stop_token_ids = {5, 6};
  generate.params.sampling.temperature = 0.25f;
  generate.params.sampling.seed = 1ull << 63;
  generate.params.sampling.logit_bias = {{3, -1.5f}};
  generate.params.logprobs = true;
  generate.params.top_logprobs = 2;
  generate.params.prompt_logprobs = true;
  generate.params.top_prompt_logprobs = 3;
  generate.credit = 4096;
  return {generate,
          Generate{},
          Grant{.request = 2, .choice = 3, .token_events = 1ll << 40},
          EndTurn{.request = 3, .choice = 1, .position = 1ll << 41, .pending = {9, 8}},
          Cancel{.request = 4},
          OpenSession{.request = 5, .session = 6, .window = CacheWindow{4, 60}},
          OpenSession{.request = 5, .session = 6, .window = std::nullopt},
          OpenSession{.request = 5,
                      .session = 6,
                      .window = std::nullopt,
                      .past = {.sinks = {1, 2}, .begin = 5'000'000'000, .recent = {3, 4, 5}}},
          ForkSession{.request = 6, .session = 7, .from = 8, .at = 9},
          RollBackSession{.request = 7, .session = 8, .to = 9},
          CloseSession{.request = 8, .session = 9},
          OpenSession{.request = 5, .session = 6, .snapshots = {{~0ull, 7}, {~0ull, 8}}},
          SaveSession{.request = 9, .session = 10, .tokens = 1ll << 43, .name = {11, ~0ull}},
          DropSnapshot{.request = 10, .session = ~0ull},
          KeepSnapshots{.request = 11, .sessions = {1, ~0ull}}};
}

std::vector<Event> every_event() {
  return {Accepted{.request = 1},
          Refused{.request = 2,
                  .reason = RefusalReason::not_as_expected,
                  .message = "the session has 12 tokens \xff",
                  .usage = {12, 4, 8, 4}},
          TokenEvent{.request = 3,
                     .choice = 4,
                     .position = 1ll << 42,
                     .token = 5,
                     .from_prompt = true,
                     .logprob = -std::numeric_limits<float>::infinity(),
                     .top = {{6, -0.5f}, {7, -1.5f}},
                     .rank = 8},
          TokenEvent{},
          TurnEnded{.request = 4,
                    .choice = 5,
                    .reason = FinishReason::ending,
                    .message = std::string("why\0", 4),
                    .usage = {1, 2, 3, 4},
                    .stop_token = 6,
                    .pending = {7}},
          SessionChanged{.request = 5, .session = 6, .usage = {9, 8, 7, 6}, .pending = {5, 4}},
          SlotWanted{.request = 0, .session = 7}};
}

// Both kinds of message are held to the same.
template <typename Message, typename Decode>
void survive_the_wire(const std::vector<Message>& messages, Decode decode) {
  for (const Message& message : messages) {
    const Bytes bytes = encode(message);
    const Message back = decode(bytes);
    EXPECT_EQ(back.index(), message.index());
    EXPECT_EQ(encode(back), bytes);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_THROW(decode(std::span(bytes).first(length)), wire::Malformed)
          << message.index() << ' ' << length;
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_THROW(decode(longer), wire::Malformed);
  }
}

TEST(Messages, EveryKindSurvivesTheWireWhole) {
  survive_the_wire(every_command(), [](std::span<const std::byte> bytes) { return decode_command(bytes); });
  survive_the_wire(every_event(), [](std::span<const std::byte> bytes) { return decode_event(bytes); });
}

TEST(Messages, ValuesArriveInTheirPlaces) {
  const Command command = decode_command(encode(every_command()[0]));
  const auto& generate = std::get<Generate>(command);
  EXPECT_EQ(generate.request, 1u);
  EXPECT_EQ(generate.session, ~std::uint64_t{0});
  EXPECT_EQ(generate.expected_tokens, 5'000'000'000);
  ASSERT_EQ(generate.prompts.size(), 3u);
  EXPECT_EQ(generate.prompts[0].list(), (std::vector<TokenId>{1, 2, 3}));
  EXPECT_TRUE(generate.prompts[1].empty());
  EXPECT_EQ(generate.n, 4);
  EXPECT_EQ(generate.params.stop_token_ids, (std::vector<TokenId>{5, 6}));
  EXPECT_EQ(generate.params.sampling.seed, 1ull << 63);
  EXPECT_EQ(generate.params.top_prompt_logprobs, 3);
  EXPECT_EQ(generate.credit, 4096);
  const Event event = decode_event(encode(every_event()[4]));
  const auto& ended = std::get<TurnEnded>(event);
  EXPECT_EQ(ended.reason, FinishReason::ending);
  EXPECT_EQ(ended.message.size(), 4u);
  EXPECT_EQ(ended.usage, (SessionUsage{1, 2, 3, 4}));
  EXPECT_EQ(ended.stop_token, 6);
  EXPECT_EQ(ended.pending, std::vector<TokenId>{7});
}

// A command is no event, and what other builds or others altogether say is neither.
TEST(Messages, OtherMessagesAreRefused) {
  EXPECT_THROW(decode_event(encode(Command(Cancel{1}))), wire::Malformed);
  EXPECT_THROW(decode_command(encode(Event(Accepted{1}))), wire::Malformed);
  EXPECT_THROW(decode_command({}), wire::Malformed);
  Bytes bytes = encode(Command(Cancel{1}));
  bytes[3] = std::byte{'0'};
  EXPECT_THROW(decode_command(bytes), wire::Malformed);
  bytes = encode(Command(Cancel{1}));
  bytes[4] = static_cast<std::byte>(std::variant_size_v<Command>);
  EXPECT_THROW(decode_command(bytes), wire::Malformed);
  bytes = encode(Event(TurnEnded{.reason = FinishReason::ending}));
  const auto reason = std::find(bytes.begin() + 17, bytes.end(), std::byte{4});
  *reason = std::byte{5};
  EXPECT_THROW(decode_event(bytes), wire::Malformed);
}

// Whatever comes is a message or refused, and what is a message has one form only.
TEST(Messages, DamageIsRefusedOrMeansSomethingElse) {
  std::mt19937 random(7);
  const auto damage = [&](const auto& messages, auto decode) {
    for (int round = 0; round < 3000; ++round) {
      Bytes bytes = encode(messages[random() % messages.size()]);
      for (auto i = random() % 3 + 1; i > 0; --i) {
        bytes[random() % bytes.size()] = static_cast<std::byte>(random());
      }
      try {
        EXPECT_EQ(encode(decode(bytes)), bytes);
      } catch (const wire::Malformed&) {
      }
    }
  };
  damage(every_command(), [](const Bytes& bytes) { return decode_command(bytes); });
  damage(every_event(), [](const Bytes& bytes) { return decode_event(bytes); });
}

}  // namespace
}  // namespace sinkstream
