#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {
namespace {

using Completions = CoordinatorTest;

TEST_F(Completions, AnswersEachPromptNTimes) {
  start();
  const Json body = answer(kText, {{"prompt", {"one", "two"}}, {"n", 2}, {"seed", 7}});
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(body["object"], "text_completion");
  ASSERT_EQ(body["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) {
    const Json expected = {
        {"index", i}, {"text", "Hello, dear world!"}, {"logprobs", nullptr}, {"finish_reason", "stop"}};
    EXPECT_EQ(body["choices"][static_cast<std::size_t>(i)], expected);
  }
  const auto requests = engine->requests();
  EXPECT_EQ(requests[0].prompt.list(), requests[1].prompt.list());
  EXPECT_NE(requests[0].prompt.list(), requests[2].prompt.list());
  EXPECT_EQ(requests[3].sampling.seed, 8u);
  EXPECT_EQ(requests[0].prompt.list(), tokenizer().encode("one"));
  EXPECT_EQ(body["usage"]["prompt_tokens"],
            requests[0].prompt.list().size() + requests[2].prompt.list().size());
}

TEST_F(Completions, TakesTokenIds) {
  start();
  answer(kText, {{"prompt", {5, 6, 7}}});
  EXPECT_EQ(engine->requests().back().prompt.list(), (std::vector<TokenId>{5, 6, 7}));
  EXPECT_EQ(answer(kText, {{"prompt", {{5, 6}, {7}}}})["choices"].size(), 2u);
  EXPECT_EQ(engine->requests().back().prompt.list(), std::vector<TokenId>{7});
}

TEST_F(Completions, SpecialTokensInPromptsAreRecognized) {
  start();
  answer(kText, {{"prompt", "<|user|>hi"}});
  EXPECT_EQ(engine->requests().back().prompt.list(), tokenizer().encode("<|user|>hi"));
  EXPECT_EQ(engine->requests().back().prompt.list().at(1), *tokenizer().find("<|user|>"));
}

TEST_F(Completions, EchoesThePrompt) {
  start();
  for (const Json& prompt :
       {Json("Once <|user|> upon"), Json(tokenizer().encode("Once <|user|> upon", {false}))}) {
    const Json request = {{"prompt", prompt}, {"echo", true}};
    EXPECT_EQ(answer(kText, request)["choices"][0]["text"], "Once <|user|> uponHello, dear world!");
    std::string text;
    for (const Json& chunk : stream(kText, request)) text += chunk["choices"][0]["text"];
    EXPECT_EQ(text, "Once <|user|> uponHello, dear world!");
  }
  const Json nothing_more = answer(kText, {{"prompt", "Once"}, {"echo", true}, {"max_tokens", 0}});
  EXPECT_EQ(nothing_more["choices"][0]["text"], "Once");
  EXPECT_EQ(nothing_more["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(nothing_more["usage"]["completion_tokens"], 0);
}

TEST_F(Completions, EchoWithLogprobsCoversEveryToken) {
  start();
  std::string prompt;
  for (int i = 0; i < 100; ++i) prompt += i % 2 ? "caf\xc3\xa9 " : "word ";
  const Json request = {{"prompt", prompt}, {"echo", true}, {"logprobs", 2}, {"max_tokens", 3}};
  const Json choice = answer(kText, request)["choices"][0];
  const Json& logprobs = choice["logprobs"];
  const std::size_t prompt_tokens = tokenizer().encode(prompt).size();
  const std::size_t tokens = prompt_tokens + 3;
  ASSERT_EQ(logprobs["tokens"].size(), tokens);
  ASSERT_EQ(logprobs["token_logprobs"].size(), tokens);
  ASSERT_EQ(logprobs["top_logprobs"].size(), tokens);
  ASSERT_EQ(logprobs["text_offset"].size(), tokens);
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["tokens"][0], "<|begin|>");
  EXPECT_EQ(logprobs["text_offset"][0], 0);
  EXPECT_EQ(logprobs["text_offset"][1], 0);                // the begin token is not in the text
  EXPECT_EQ(logprobs["text_offset"][prompt_tokens], 500);  // in characters
  for (std::size_t i = 1; i < tokens; ++i) {
    EXPECT_TRUE(logprobs["token_logprobs"][i].is_number());
    EXPECT_GE(logprobs["top_logprobs"][i].size(), 2u);
  }
  EXPECT_TRUE(choice["text"].get<std::string>().starts_with(prompt));

  Json streamed = {
      {"tokens", Json::array()}, {"token_logprobs", Json::array()}, {"text_offset", Json::array()}};
  std::string text;
  for (const Json& chunk : stream(kText, request)) {
    text += chunk["choices"][0]["text"];
    const Json& part = chunk["choices"][0]["logprobs"];
    if (part.is_null()) continue;
    for (const char* key : {"tokens", "token_logprobs", "text_offset"}) {
      for (const Json& entry : part[key]) streamed[key].push_back(entry);
    }
  }
  EXPECT_EQ(text, choice["text"].get<std::string>());
  for (const char* key : {"tokens", "token_logprobs", "text_offset"})
    EXPECT_EQ(streamed[key], logprobs[key]) << key;
}

TEST_F(Completions, LogprobsOfCutCharactersAreShownAsBytes) {
  start();
  say("\xf0\x9f\xa6\x99");
  const Json choice = answer(kText, {{"prompt", "x"}, {"logprobs", 0}})["choices"][0];
  EXPECT_EQ(choice["text"], "\xf0\x9f\xa6\x99");
  for (const Json& token : choice["logprobs"]["tokens"]) {
    EXPECT_TRUE(token == "\xf0\x9f\xa6\x99" || token.get<std::string>().starts_with("bytes:\\x")) << token;
  }
}

TEST_F(Completions, StreamsWithoutRoleChunks) {
  start();
  const auto chunks = stream(kText, {{"prompt", "x"}, {"stream_options", {{"include_usage", true}}}});
  std::string text;
  for (std::size_t i = 0; i + 1 < chunks.size(); ++i) {
    EXPECT_EQ(chunks[i]["object"], "text_completion");
    EXPECT_FALSE(chunks[i]["choices"][0].contains("delta"));
    EXPECT_TRUE(chunks[i]["usage"].is_null());
    text += chunks[i]["choices"][0]["text"];
  }
  EXPECT_EQ(text, "Hello, dear world!");
  EXPECT_EQ(chunks[chunks.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_GT(chunks.back()["usage"]["completion_tokens"], 0);
}

TEST_F(Completions, SpecialTokensStopAndAreShownWhenAskedFor) {
  start();
  say("Hello<|user|>you");
  const auto first = [this](Json fields) {
    fields["prompt"] = "x";
    const Json choice = answer(kText, fields)["choices"][0];
    std::string streamed;
    for (const Json& chunk : stream(kText, fields)) streamed += chunk["choices"][0]["text"];
    EXPECT_EQ(streamed, choice["text"].get<std::string>());
    return choice["text"].get<std::string>() + "|" + choice["finish_reason"].get<std::string>();
  };
  EXPECT_EQ(first(Json::object()), "Helloyou|stop");
  EXPECT_EQ(first({{"max_tokens", 8}, {"ignore_eos", true}, {"stop", "<|user|>"}}), "Hello|stop");
  EXPECT_EQ(first({{"skip_special_tokens", false}}), "Hello<|user|>you|stop");
  EXPECT_EQ(first({{"skip_special_tokens", false}, {"stop", {"ser|>y"}}}), "Hello<|u|stop");
  const Json logprobs = answer(kText, {{"prompt", "x"}, {"skip_special_tokens", false}, {"logprobs", 1}});
  EXPECT_EQ(logprobs["choices"][0]["logprobs"]["text_offset"].back(), 13);
}

TEST_F(Completions, WhatEndsTheAnswerIsIncludedWhenAskedFor) {
  limits.end_tokens = {*tokenizer().find("<|end|>")};
  start();
  const auto text = [this](Json fields) {
    fields["prompt"] = "x";
    if (!fields.contains("include_stop_str_in_output")) fields["include_stop_str_in_output"] = true;
    return answer(kText, fields)["choices"][0]["text"];
  };
  EXPECT_EQ(text({{"stop", "dear"}}), "Hello, dear");
  EXPECT_EQ(text(Json::object()), "Hello, dear world!");  // its name is hidden
  EXPECT_EQ(text({{"skip_special_tokens", false}}), "Hello, dear world!<|end|>");
  EXPECT_EQ(text({{"skip_special_tokens", false}, {"include_stop_str_in_output", false}}),
            "Hello, dear world!");
}

TEST_F(Completions, AStopStringCountsAfterMinTokens) {
  start();
  say("one two one two one two one", true);
  const std::size_t first = tokenizer().encode("one two", {.add_special_tokens = false}).size();
  const auto tokens = [this](std::size_t min_tokens) {
    const Json body =
        answer(kText, {{"prompt", "x"}, {"stop", "two"}, {"min_tokens", min_tokens}, {"max_tokens", 50}});
    EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
    return body["usage"]["completion_tokens"].get<std::size_t>();
  };
  EXPECT_EQ(tokens(0), first);
  EXPECT_EQ(tokens(first - 1), first);
  EXPECT_GT(tokens(first), first);
  EXPECT_EQ(engine->requests().back().sampling.min_tokens, static_cast<std::int64_t>(first));
}

TEST_F(Completions, PromptLogprobs) {
  start();
  const std::vector<TokenId> prompt = {5, 6, 300};
  for (const int top : {0, 2}) {
    const Json choice = answer(kText, {{"prompt", prompt}, {"prompt_logprobs", top}, {"n", 2}})["choices"][1];
    EXPECT_EQ(choice["text"], "Hello, dear world!");
    EXPECT_TRUE(choice["logprobs"].is_null());
    const Json& list = choice["prompt_logprobs"];
    ASSERT_EQ(list.size(), 3u);
    EXPECT_TRUE(list[0].is_null());
    EXPECT_EQ(list[1].size(), 1u + static_cast<std::size_t>(top));
    const Json own = {{"logprob", -1.75}, {"rank", 106}, {"decoded_token", tokenizer().token_bytes(6)}};
    EXPECT_EQ(list[1]["6"], own);
    if (top == 0) continue;
    EXPECT_EQ(list[1]["300"]["rank"], 1);
    EXPECT_EQ(list[1]["301"]["rank"], 2);
    EXPECT_EQ(list[2].size(), 2u) << "the token itself is the likeliest";
  }
  // Beside an echo, each has its own number of alternatives.
  const Json both = answer(kText, {{"prompt", prompt},
                                   {"prompt_logprobs", 3},
                                   {"echo", true},
                                   {"logprobs", 1},
                                   {"max_tokens", 0}})["choices"][0];
  EXPECT_EQ(both["prompt_logprobs"][1].size(), 4u);
  EXPECT_EQ(both["logprobs"]["tokens"].size(), 3u);
  EXPECT_EQ(both["logprobs"]["top_logprobs"][1].size(), 2u);
  EXPECT_EQ(
      answer(kText, {{"prompt", prompt}, {"prompt_logprobs", 0}, {"max_tokens", 0}})["choices"][0]["text"],
      "");
}

TEST_F(Completions, EveryChunkHasTheUsageWhenAskedFor) {
  start();
  const auto chunks = stream(
      kText,
      {{"prompt", "x"}, {"stream_options", {{"include_usage", true}, {"continuous_usage_stats", true}}}});
  int before = 0;
  for (const Json& chunk : chunks) {
    const int tokens = chunk["usage"]["completion_tokens"];
    EXPECT_GE(tokens, before);
    before = tokens;
  }
  EXPECT_EQ(chunks.back()["usage"], answer(kText, {{"prompt", "x"}})["usage"]);
}

TEST_F(Completions, ReturnsTokenIds) {
  start();
  const Json request = {
      {"prompt", {5, 6}}, {"return_token_ids", true}, {"max_tokens", 100}, {"ignore_eos", true}};
  const Json choice = answer(kText, request)["choices"][0];
  EXPECT_EQ(choice["token_ids"].size(), 100u);
  EXPECT_EQ(choice["prompt_token_ids"], Json({5, 6}));
  EXPECT_EQ(stream(kText, request)[0]["choices"][0]["prompt_token_ids"], Json({5, 6}));
}

TEST_F(Completions, AWholeAnswerMustFitInMemory) {
  start();
  Json request = {{"prompt", "x"}, {"logprobs", 5}, {"max_tokens", 100000}, {"n", 16}};
  const RawResponse refused = post_json(kText, request);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(Json::parse(refused.body)["error"]["param"], "logprobs");
  request["n"] = 1;  // 600,000
  EXPECT_EQ(post_json(kText, request).status, 400);
  request["stream"] = true;
  EXPECT_EQ(post_json(kText, request).status, 200);
  const Json long_prompt = {{"prompt", std::vector<int>(30000, 5)}, {"prompt_logprobs", 20}};
  EXPECT_EQ(Json::parse(post_json(kText, long_prompt).body)["error"]["param"], "prompt_logprobs");
}

}  // namespace
}  // namespace sinkstream::testing
