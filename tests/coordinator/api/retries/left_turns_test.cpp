// Clients that leave before they have their answer, and come back for it or don't.
#include <functional>

#include "tests/coordinator/api/retries/retries_fixture.h"

namespace sinkstream::testing {
namespace {

// What the official client's retry meets after its connection was cut.
TEST_F(RetriesTest, ACutStreamIsGivenWhole) {
  start();
  say("word and ", true);
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 2000}, {"stream", true}};
  RawClient client(address);
  client.send(keyed(kText, body, "key"));
  ASSERT_TRUE(client.receive_until("data: "));
  client.close();
  // It goes no further than its credit while nobody reads, and is not ended.
  ASSERT_TRUE(eventually([&] { return engine->num_out_of_credit() == 1; }));
  EXPECT_EQ(show(id)["status"], "running");
  EXPECT_LT(show(id)["seen_tokens"], 1000);

  const RawResponse again = ask_keyed(kText, body, "key");
  EXPECT_TRUE(is_replayed(again));
  EXPECT_EQ(events_of(again.body).back(), "[DONE]");
  EXPECT_EQ(num_turns(), 1u);
  EXPECT_EQ(engine->num_cancelled(), 0u);
  EXPECT_EQ(show(id)["seen_tokens"], 2002);
  EXPECT_EQ(show(id)["status"], "idle");
  EXPECT_EQ(transcript(id)["tokens"], Json(kept()));
  EXPECT_EQ(text_of(again), transcript(id, "?from=2")["text"].get<std::string>());
  EXPECT_EQ(again.body, ask_keyed(kText, body, "key").body);
}

TEST_F(RetriesTest, AWholeAnswerWaitsForItsRetry) {
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}, {"expected_seen", 0}};
  engine->hold(true);
  {
    RawClient client(address);
    client.send(post(kText, body.dump()));
    ASSERT_TRUE(eventually([&] { return engine->num_active() == 1; }));
  }
  engine->hold(false);
  ASSERT_TRUE(eventually([&] { return show(id)["status"] == "idle"; }));
  const RawResponse again = post_json(kText, body);
  EXPECT_EQ(again.status, 200) << again.body;
  EXPECT_TRUE(is_replayed(again));
  EXPECT_EQ(Json::parse(again.body)["usage"]["completion_tokens"], 3);
  EXPECT_EQ(num_turns(), 1u);
}

TEST_F(RetriesTest, ATurnThatNobodyComesBackForEnds) {
  api_settings.sessions.retry_seconds = 0.001;
  start();
  say("word ", true);
  const std::string id = open();
  const auto leave = [&](const std::string& request) {
    RawClient client(address);
    client.send(request);
    ASSERT_TRUE(client.receive_until("data: "));
  };
  Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 90000}, {"stream", true}};
  leave(keyed(kText, body, "key"));
  ASSERT_TRUE(eventually([&] { return show(id)["status"] == "idle"; }));
  const std::int64_t seen = show(id)["seen_tokens"];
  EXPECT_GT(seen, 2);
  EXPECT_EQ(transcript(id)["tokens"], Json(kept()));
  RawResponse late;
  ASSERT_TRUE(eventually([&] {
    late = ask_keyed(kText, body, "key");
    return late.status == 409;
  }));
  EXPECT_EQ(error_of(late)["code"], "turn_ended_early");
  EXPECT_EQ(late.headers.at("x-should-retry"), "false");
  EXPECT_EQ(show(id)["seen_tokens"], seen) << "it was not taken in again";

  body["expected_seen"] = seen;
  leave(post(kText, body.dump()));
  ASSERT_TRUE(eventually([&] { return show(id)["status"] == "idle"; }));
  const RawResponse stale = post_json(kText, body);
  EXPECT_EQ(stale.status, 409);
  EXPECT_EQ(error_of(stale)["code"], "stale_session");
  EXPECT_EQ(error_of(stale)["seen_tokens"], show(id)["seen_tokens"]);
}

TEST_F(RetriesTest, AnotherRequestEndsTheTurnThatWasLeft) {
  start();
  say("word ", true);
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 90000}, {"stream", true}};
  const std::vector<std::pair<std::string, Json>> others = {
      {kText, {{"session", id}, {"prompt", {7}}, {"max_tokens", 1}}},
      {path(id, "append"), {{"prompt", {7}}}},
      {path(id, "rollback"), {{"to", 0}}},
      {path(id, "fork"), {{"at", 0}}}};
  for (const auto& [where, other] : others) {
    {
      RawClient client(address);
      client.send(keyed(kText, body, where));
      ASSERT_TRUE(client.receive_until("data: "));
    }
    ASSERT_TRUE(eventually([&] { return engine->num_out_of_credit() == 1; }));
    const RawResponse response = post_json(where, other);
    EXPECT_EQ(response.status, 200) << where << response.body;
    EXPECT_EQ(error_of(ask_keyed(kText, body, where))["code"], "turn_ended_early");
  }
  EXPECT_EQ(engine->num_cancelled(), others.size());
  // But none of somebody who reads.
  RawClient reader(address);
  reader.send(keyed(kText, body, "read"));
  ASSERT_TRUE(reader.receive_until("data: "));
  EXPECT_EQ(error_of(post_json(kText, others[0].second))["code"], "session_busy");
  reader.close();
}

// Nothing was done: the session was not in the engine yet, or the turn is refused there.
TEST_F(RetriesTest, WhatWasLeftBeforeItBeganIsTriedAgain) {
  api_settings.sessions.retry_seconds = 0.001;
  start();
  const std::string id = open();
  const Json turn = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}};
  const Json appended = {{"prompt", {5, 6}}};
  const auto leave = [&](const std::string& where, const Json& body, const std::string& key,
                         const std::function<bool()>& is_noticed) {
    const std::int64_t seen = show(id)["seen_tokens"];
    engine->listen(false);
    RawClient client(address);
    client.send(keyed(where, body, key));
    ASSERT_TRUE(eventually([&] { return engine->num_unheard() == 1; }));
    client.close();
    ASSERT_TRUE(eventually(is_noticed));
    engine->listen(true);
    ASSERT_TRUE(eventually([&] { return show(id)["status"] == "idle"; }));
    EXPECT_EQ(show(id)["seen_tokens"], seen);
    EXPECT_EQ(ask_keyed(where, body, key).status, 200) << key;
  };
  leave(kText, turn, "opened", [&] { return metric("sinkstream_aborted_total{why=\"client_left\"}") == 1; });
  const auto is_cancelled = [&] { return engine->num_unheard() == 2; };
  engine->refuse_next(RefusalReason::ending, "");
  leave(kText, turn, "refused", is_cancelled);
  engine->refuse_next(RefusalReason::ending, "");
  leave(path(id, "append"), appended, "refused append", is_cancelled);
}

// The official clients count their retries, and send neither a key nor expected_seen by themselves.
TEST_F(RetriesTest, AClientThatSaysItRetriesIsBelieved) {
  start();
  const std::string id = open();
  const auto attempt = [&](int count, const Json& body) {
    return post(kText, body.dump(), "x-stainless-retry-count: " + std::to_string(count) + "\r\n");
  };
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}};
  engine->hold(true);
  {
    RawClient client(address);
    client.send(attempt(0, body));
    ASSERT_TRUE(eventually([&] { return engine->num_active() == 1; }));
  }
  engine->hold(false);
  const RawResponse again = ask(attempt(1, body));
  EXPECT_EQ(again.status, 200) << again.body;
  EXPECT_TRUE(is_replayed(again));
  EXPECT_EQ(num_turns(), 1u);
  EXPECT_EQ(show(id)["seen_tokens"], 5);
  // The same words again are no retry: neither as a first attempt, nor when the last one's answer was had.
  EXPECT_FALSE(is_replayed(ask(attempt(0, body))));
  EXPECT_FALSE(is_replayed(ask(attempt(1, body))));
  EXPECT_EQ(show(id)["seen_tokens"], 15);
}

// They do not repeat by themselves what has begun to be answered: there, leaving means to stop.
TEST_F(RetriesTest, WhoLeavesAStreamWithoutAKeyStopsIt) {
  start();
  say("word ", true);
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 90000}, {"stream", true}};
  const auto attempt = [&](int count) {
    return post(kText, body.dump(), "x-stainless-retry-count: " + std::to_string(count) + "\r\n");
  };
  for (int i = 0; i < 2; ++i) {  // the same words are a new turn
    RawClient client(address);
    client.send(attempt(0));
    ASSERT_TRUE(client.receive_until("data: "));
    client.close();
    ASSERT_TRUE(eventually([&] { return show(id)["status"] == "idle"; }));
    const std::int64_t seen = show(id)["seen_tokens"];
    const RawResponse late = ask(attempt(1));
    EXPECT_EQ(late.status, 409) << late.body;
    EXPECT_EQ(error_of(late)["code"], "turn_ended_early");
    EXPECT_EQ(show(id)["seen_tokens"], seen) << "it was not taken in again";
  }
  EXPECT_EQ(num_turns(), 2u);
}

TEST_F(RetriesTest, ADeletedSessionsTurnIsGone) {
  start();
  say("word ", true);
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 90000}, {"stream", true}};
  {
    RawClient client(address);
    client.send(keyed(kText, body, "key"));
    ASSERT_TRUE(client.receive_until("data: "));
  }
  EXPECT_EQ(remove(id).status, 200);
  ASSERT_TRUE(eventually([&] { return engine->num_active() == 0; }));
  EXPECT_TRUE(eventually([&] { return ask_keyed(kText, body, "key").status == 404; }));
}

}  // namespace
}  // namespace sinkstream::testing
