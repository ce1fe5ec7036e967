// How requests and the engine get along: credit, stop strings, refusals, choices that share a prompt.
#include <algorithm>

#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {
namespace {

class GenerationTest : public CoordinatorTest {
 protected:
  static std::vector<TokenId> tokens_of(const std::string& text) {
    return tokenizer().encode(text, {.add_special_tokens = false});
  }
  static Json error_of(const RawResponse& response) { return Json::parse(response.body).at("error"); }
};

// ---- credit

TEST_F(GenerationTest, AReaderThatDoesNotKeepUpIsWaitedForAndWakesItsChoices) {
  settings.max_stream_buffer_bytes = 10000;
  settings.stall_seconds = 600;
  start();
  say("word ", true);
  constexpr std::size_t kChoices = 8;
  constexpr std::size_t kTokens = 2000;  // with so many alternatives they fill all buffers between us
  const Json request = {
      {"prompt", "x"}, {"max_tokens", kTokens}, {"logprobs", 5}, {"stream", true}, {"n", kChoices}};
  RawClient client(address);
  client.send(post(kText, request.dump()));
  ASSERT_TRUE(client.receive_until("data: "));
  ASSERT_TRUE(eventually([&] { return engine->num_out_of_credit() == kChoices; }));
  const std::int64_t events = engine->num_events();
  EXPECT_LT(events, static_cast<std::int64_t>(kChoices * kTokens));
  engine->set_reply(tokens_of("word "));
  answer(kText, {{"prompt", "others are served"}});
  EXPECT_EQ(engine->num_out_of_credit(), kChoices);
  say("word ", true);

  const RawResponse response = client.receive();
  EXPECT_TRUE(response.complete);
  const std::vector<std::string> chunks = events_of(response.body);
  EXPECT_EQ(chunks.back(), "[DONE]");
  const auto tokens = std::ranges::count_if(
      chunks, [](const std::string& chunk) { return chunk.find("\"token_logprobs\":[-") != chunk.npos; });
  EXPECT_GE(tokens, static_cast<std::ptrdiff_t>(kChoices * kTokens) - 1);  // one was read above
  EXPECT_LT(engine->commands<Grant>().size(), kChoices * kTokens / 64) << "one for many tokens";
}

TEST_F(GenerationTest, WhatIsNotStreamedIsGrantedAsItIsTakenIn) {
  start();
  say("word ", true);
  const Json body = answer(kText, {{"prompt", "x"}, {"max_tokens", 9000}});
  EXPECT_EQ(body["usage"]["completion_tokens"], 9000);
  const std::size_t grants = engine->commands<Grant>().size();
  EXPECT_GT(grants, 0u);
  EXPECT_LT(grants, 10u);
}

// ---- stop strings

TEST_F(GenerationTest, AStopStringTakesTheSessionBack) {
  start();
  const std::vector<TokenId> reply = tokens_of("one two three four");
  say("one two three four", true);
  const auto session = [this](Json fields) {
    fields["prompt"] = {5, 6, 7};
    fields["max_tokens"] = 1000;
    const Json usage = answer(kText, fields)["usage"];
    EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
    EXPECT_EQ(usage["session"]["seen_tokens"], engine->commands<EndTurn>().back().position);
    return usage;
  };
  const std::int64_t before = std::ssize(tokens_of("one"));
  EXPECT_EQ(session({{"stop", " two"}})["session"]["seen_tokens"], 3 + before);
  EXPECT_TRUE(engine->commands<EndTurn>().back().pending.empty());

  // The tokens of the stop string were generated.
  const std::int64_t said = std::ssize(tokens_of("one two"));
  EXPECT_EQ(session({{"stop", " two"}})["completion_tokens"], said);

  // All of the last token is told: it is chosen, and not taken in any more.
  session({{"stop", " two"}, {"include_stop_str_in_output", true}});
  const EndTurn whole = engine->commands<EndTurn>().back();
  EXPECT_EQ(whole.position, 3 + said - 1);
  EXPECT_EQ(whole.pending, std::vector<TokenId>{reply[static_cast<std::size_t>(said - 1)]});
  EXPECT_EQ(engine->num_cancelled(), 0u);
}

TEST_F(GenerationTest, ATurnThatEndsBeforeItIsToldToGivesTheSameUsage) {
  const Json request = {{"prompt", {5, 6, 7}}, {"stop", "two"}, {"max_tokens", 1000}};
  start();
  say("one two three four");
  const Json told = answer(kText, request);
  ASSERT_EQ(told["choices"][0]["text"], "one ");
  for (const bool by_length : {false, true}) {
    engine->hear_late();
    Json late = request;
    if (by_length) late["max_tokens"] = tokens_of("one two three").size();
    const Json body = answer(kText, late);
    EXPECT_EQ(body["choices"], told["choices"]);
    EXPECT_EQ(body["usage"], told["usage"]);
  }
}

TEST_F(GenerationTest, AStopStringMustFitInTheSlack) {
  limits.session.ring_capacity = 28 + 16;
  start();
  say("ababababababababababab", true);
  const auto ask_with = [&](std::size_t bytes) {
    return post_json(kText,
                     {{"prompt", "x"}, {"max_tokens", 2000}, {"stop", {"no", std::string(bytes, 'x')}}});
  };
  EXPECT_EQ(ask_with(13).status, 200);
  EXPECT_EQ(engine->commands<Generate>().back().credit, 17) << "as far as a session can go back";
  const RawResponse refused = ask_with(14);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(error_of(refused)["param"], "stop");
  const std::string message = error_of(refused)["message"];
  EXPECT_NE(message.find("cache.slack_tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("14 bytes"), std::string::npos) << message;
  EXPECT_NE(message.find("up to 13"), std::string::npos) << message;
}

TEST_F(GenerationTest, WithoutForgettingAStopStringMayBeAnyLength) {
  limits.session = {.window = {0, 40}, .max_context = 40, .ring_capacity = 40};
  start();
  EXPECT_EQ(post_json(kText, {{"prompt", "x"}, {"stop", std::string(256, 'x')}}).status, 200);
}

// The fake engine fails the test when a session cannot be taken back as far as it is asked to.
TEST_F(GenerationTest, WhatIsHeldBackNeverOutrunsTheSlack) {
  limits.session.ring_capacity = 28 + 16;
  start();
  for (const char* text : {"xyxyxyxyxyxyxyxyxyxyxyxyxyxyxyz", "xyxyxyxyxyx\U0001F999xyxyxyxyxyxyzz"}) {
    say(text, true);
    const Json body = answer(kText, {{"prompt", "x"}, {"max_tokens", 3000}, {"stop", {"xyxyxyxyxyxyz"}}});
    EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
    const Json never = answer(kText, {{"prompt", "x"}, {"max_tokens", 3000}, {"stop", {"xyxyxyxyxyxyy"}}});
    EXPECT_EQ(never["usage"]["completion_tokens"], 3000);
  }
}

TEST_F(GenerationTest, TokensWithoutTextHoldNobodyUp) {
  limits.session.ring_capacity = 28 + 16;
  start();
  std::vector<TokenId> reply = tokens_of("one");
  reply.insert(reply.end(), 500, *tokenizer().find("<|user|>"));
  for (const TokenId token : tokens_of(" two")) reply.push_back(token);
  engine->set_reply(reply);
  engine->allow_out_of_reach();
  for (const char* stop : {"ne two", "ne to"}) {
    const Json body = answer(kText, {{"prompt", {5, 6, 7}}, {"max_tokens", 3000}, {"stop", stop}});
    const bool stops = body["choices"][0]["text"] == "o";
    EXPECT_EQ(stops, stop == std::string("ne two"));
    EXPECT_EQ(body["usage"]["completion_tokens"], reply.size());
    EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
    if (stops) {
      EXPECT_EQ(body["usage"]["session"]["seen_tokens"], 3);
    }
  }
}

// ---- refusals

TEST_F(GenerationTest, ARefusalIsAnAnswerOfItsOwn) {
  start();
  for (const bool streamed : {false, true}) {
    const Json request = {{"prompt", "x"}, {"stream", streamed}};
    engine->refuse_next(RefusalReason::invalid, "not for clients");
    const RawResponse invalid = post_json(kText, request);
    EXPECT_EQ(invalid.status, 500);
    EXPECT_EQ(error_of(invalid)["type"], "server_error");
    EXPECT_EQ(invalid.body.find("not for clients"), std::string::npos);
    engine->refuse_next(RefusalReason::queue_full, "");
    const RawResponse full = post_json(kText, request);
    EXPECT_EQ(full.status, 429);
    EXPECT_TRUE(full.headers.contains("retry-after"));
    engine->refuse_next(RefusalReason::ending, "");
    EXPECT_EQ(post_json(kText, request).status, 503);
    EXPECT_EQ(post_json(kText, request).status, 200);
  }
  EXPECT_TRUE(engine->commands<Cancel>().empty());
}

// ---- choices

TEST_F(GenerationTest, OnePromptsTokensAreThoseOfAllItsChoices) {
  start();
  const std::vector<std::vector<TokenId>> prompts = {std::vector<TokenId>(700, 5), {6, 7, 300}};
  const auto reply_tokens = std::ssize(tokens_of("Hello, dear world!"));
  const auto events_for = [&](Json request, bool streamed) {
    request["prompt"] = prompts;
    request["n"] = 3;
    request["stream"] = streamed;
    const std::int64_t before = engine->num_events();
    std::vector<std::size_t> reported(6, 0);
    if (streamed) {
      for (const Json& chunk : stream(kText, request)) {
        const Json& choice = chunk["choices"][0];
        if (!choice["logprobs"].is_null()) reported[choice["index"]] += choice["logprobs"]["tokens"].size();
      }
    } else {
      const Json body = answer(kText, request);
      for (const Json& choice : body["choices"]) {
        const char* key = request.contains("prompt_logprobs") ? "prompt_logprobs" : "logprobs";
        reported[choice["index"]] =
            choice[key].is_array() ? choice[key].size() : choice[key]["tokens"].size();
      }
      for (const std::size_t first : {0u, 3u}) {
        for (const std::size_t other : {1u, 2u}) {
          Json expected = body["choices"][first];
          expected["index"] = first + other;
          EXPECT_EQ(body["choices"][first + other], expected);
        }
      }
    }
    EXPECT_EQ(engine->num_events() - before, 700 + 3 + 6 * reply_tokens) << "each prompt's once";
    return reported;
  };
  const auto all = [&](std::int64_t answered) {
    const auto first = static_cast<std::size_t>(700 + answered),
               second = static_cast<std::size_t>(3 + answered);
    return std::vector<std::size_t>{first, first, first, second, second, second};
  };
  EXPECT_EQ(events_for({{"echo", true}, {"logprobs", 2}}, false), all(reply_tokens));
  EXPECT_EQ(events_for({{"echo", true}, {"logprobs", 2}}, true), all(reply_tokens));
  EXPECT_EQ(events_for({{"prompt_logprobs", 1}}, false), all(0));
  EXPECT_EQ(engine->commands<Generate>().size(), 3u) << "one for all of a request";
}

// The engine is asked for the longest of the answers.
TEST_F(GenerationTest, EachPromptsAnswerEndsWhereItWouldForget) {
  start();
  say("word ", true);
  const Json request = {{"prompt", {std::vector<TokenId>(30, 5), std::vector<TokenId>(12, 5)}},
                        {"max_tokens", 1000},
                        {"truncation", "disabled"},
                        {"return_token_ids", true}};
  const Json body = answer(kText, request);
  EXPECT_EQ(body["choices"][0]["token_ids"].size(), 3u);
  EXPECT_EQ(body["choices"][1]["token_ids"].size(), 21u);
  for (const Json& choice : body["choices"]) EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["session"]["seen_tokens"], 32);
  EXPECT_EQ(body["usage"]["session"]["evicted_tokens"], 0);
  // The turn may have come to the other's end before it heard of its own.
  ASSERT_TRUE(eventually([&] { return !engine->commands<EndTurn>().empty(); }));
  EXPECT_EQ(engine->commands<EndTurn>().size(), 1u);
  EXPECT_EQ(engine->commands<EndTurn>()[0].position, 32);
}

TEST_F(GenerationTest, AClientThatLeavesIsOneCancelForAllChoices) {
  start();
  say("word ", true);
  {
    RawClient client(address);
    client.send(post(kText, R"({"prompt": "x", "max_tokens": 100000, "n": 5, "stream": true})"));
    ASSERT_TRUE(client.receive_until("data: "));
  }
  EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
  EXPECT_EQ(engine->commands<Cancel>().size(), 1u);
  EXPECT_EQ(engine->num_cancelled(), 5u);
}

}  // namespace
}  // namespace sinkstream::testing
