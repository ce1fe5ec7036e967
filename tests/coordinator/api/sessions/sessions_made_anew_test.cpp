// Sessions that the engine does not have, has no longer, or has otherwise than they are: it makes them anew
// from their tokens.
#include <gtest/gtest.h>

#include "tests/coordinator/api/sessions/sessions_fixture.h"

namespace sinkstream::testing {
namespace {

class SessionsMadeAnewTest : public SessionsTest {};

std::vector<TokenId> many_tokens(std::int64_t count) {
  std::vector<TokenId> tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<TokenId>(5 + i % 90));
  return tokens;
}

// Beyond what the cache can take back, the state is made anew from the transcript.
TEST_F(SessionsMadeAnewTest, FarBackIsMadeAnew) {
  limits.session.num_layers = 3;
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  turn(id, {{"prompt", many_tokens(1000)}, {"max_tokens", 1}});
  std::vector<TokenId> tokens = {5, 6};
  for (const TokenId token : many_tokens(1000)) tokens.push_back(token);
  const auto past_of = [&](std::int64_t length) {
    const CacheWindow window = engine->commands<OpenSession>().back().window.value();
    const std::int64_t reach = roll_back_reach(window, limits.session.ring_capacity);
    const std::int64_t begin = replay_begin(length, reach, window, limits.session.num_layers);
    EXPECT_GT(begin, 4) << "something is left out";
    return Past{{5, 6, 5, 6}, begin, std::vector<TokenId>(tokens.begin() + begin, tokens.begin() + length)};
  };
  const auto expect_past = [&](const Past& past, const Past& expected) {
    EXPECT_EQ(past.sinks.list(), expected.sinks.list());
    EXPECT_EQ(past.begin, expected.begin);
    EXPECT_EQ(past.recent.list(), expected.recent.list());
  };
  const std::string copy = answer(path(id, "fork"), {{"at", 500}})["id"];
  EXPECT_EQ(engine->sessions().size(), 1u) << "the copy enters the engine when it is used";
  EXPECT_EQ(show(copy)["resident_tokens"], 0);
  turn(copy, {{"prompt", {3}}, {"max_tokens", 1}});
  expect_past(engine->commands<OpenSession>().back().past, past_of(500));
  EXPECT_EQ(show(copy)["resident_tokens"], 32);

  EXPECT_EQ(answer(path(id, "rollback"), {{"to", 400}})["seen_tokens"], 400);
  EXPECT_TRUE(eventually([&] { return engine->sessions().size() == 1; })) << "its old state is let go";
  turn(id, {{"max_tokens", 1}});
  expect_past(engine->commands<OpenSession>().back().past, past_of(399));
  EXPECT_EQ(engine->requests().back().prompt.list(), std::vector<TokenId>{tokens[399]});
}

TEST_F(SessionsMadeAnewTest, WhatTheTranscriptDroppedIsNotMadeAnew) {
  api_settings.sessions.transcript_tokens = 400;
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  turn(id, {{"prompt", many_tokens(1000)}, {"max_tokens", 1}});
  for (const std::string& where : {path(id, "rollback"), path(id, "fork")}) {
    const RawResponse far = post_json(where, {{where.ends_with("fork") ? "at" : "to", 500}});
    EXPECT_EQ(far.status, 409);
    EXPECT_EQ(error_of(far)["code"], "out_of_reach");
  }
  EXPECT_EQ(show(id)["seen_tokens"], 1003);
  EXPECT_EQ(Json::parse(ask(get(kSessions)).body)["data"].size(), 1u) << "a fork that was refused is none";
}

// The engine holds fewer sessions than clients keep.
TEST_F(SessionsMadeAnewTest, TheLeastRecentlyUsedLeavesTheEngineWhenItIsFull) {
  start();
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(open({{"prompt", {5, 6}}}));
    turn(ids.back(), {{"prompt", {7, 8}}, {"max_tokens", 1}});
  }
  turn(ids[0], {{"prompt", {7, 8}}, {"max_tokens", 1}});
  const std::string next = open();
  engine->refuse_next(RefusalReason::queue_full, "");
  turn(next, {{"prompt", {9}}, {"max_tokens", 1}});
  EXPECT_EQ(engine->sessions().size(), 3u);
  EXPECT_EQ(show(ids[1])["bytes"], 0);
  EXPECT_EQ(show(ids[1])["seen_tokens"], 5);
  turn(ids[1], {{"prompt", {10}}, {"max_tokens", 1}});
  EXPECT_EQ(engine->commands<OpenSession>().back().past.tokens(), 5);
  EXPECT_EQ(engine->requests().back().prompt.list(), std::vector<TokenId>{10});
}

TEST_F(SessionsMadeAnewTest, OneWhoseSlotIsWantedLeavesTheEngine) {
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  turn(id, {{"prompt", {7, 8}}, {"max_tokens", 1}});
  engine->want_slot(engine->sessions().begin()->first);
  EXPECT_TRUE(eventually([&] { return engine->sessions().empty(); }));
  EXPECT_EQ(show(id)["bytes"], 0);
  turn(id, {{"prompt", {9}}, {"max_tokens", 1}});
  EXPECT_EQ(engine->commands<OpenSession>().back().past.tokens(), 5);
}

TEST_F(SessionsMadeAnewTest, OneThatCouldNotComeBackKeepsItsSlot) {
  api_settings.sessions.transcript_tokens = 10;
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  turn(id, {{"prompt", many_tokens(1000)}, {"max_tokens", 1}});
  engine->want_slot(engine->sessions().begin()->first);
  turn(id, {{"prompt", {9}}, {"max_tokens", 1}});
  EXPECT_EQ(engine->commands<OpenSession>().size(), 1u);
}

// A turn that begins with the newest token anew, and is refused then.
TEST_F(SessionsMadeAnewTest, ARefusedTurnThatWouldGoBackChangesNothing) {
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  turn(id, {{"prompt", {7, 8}}, {"max_tokens", 64}});
  const std::int64_t seen = show(id)["seen_tokens"];
  engine->refuse_next(RefusalReason::ending, "");
  EXPECT_EQ(post_json(kText, {{"session", id}, {"max_tokens", 1}}).status, 503);
  EXPECT_EQ(show(id)["seen_tokens"], seen);
  EXPECT_EQ(turn(id, {{"prompt", {9}}, {"max_tokens", 1}})["usage"]["session"]["seen_tokens"], seen + 2);
}

TEST_F(SessionsMadeAnewTest, SurviveTheFailureOfATurn) {
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  say("word ", true);
  RawClient client(address);
  const Json body = {{"session", id}, {"prompt", {5}}, {"max_tokens", 90000}, {"stream", true}};
  client.send(post(kText, body.dump()));
  ASSERT_TRUE(client.receive_until("data: "));
  engine->fail_all("no memory for the turn", FinishReason::failed);
  EXPECT_FALSE(client.receive().complete);
  const std::int64_t seen = show(id)["seen_tokens"];
  EXPECT_GT(seen, 3);
  EXPECT_EQ(turn(id, {{"prompt", {7}}, {"max_tokens", 1}})["usage"]["session"]["seen_tokens"], seen + 2);
  EXPECT_EQ(engine->commands<OpenSession>().back().past.tokens(), seen);
}

}  // namespace
}  // namespace sinkstream::testing
