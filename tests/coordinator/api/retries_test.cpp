// Requests that change sessions, sent again: nothing is done twice, and the answer is the one that was made.
#include <fstream>
#include <functional>

#include "tests/coordinator/api/sessions_fixture.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

class RetriesTest : public SessionsTest {
 protected:
  RetriesTest() { limits.num_slots = 16; }

  static std::string keyed(const std::string& where, const Json& body, const std::string& key) {
    return post(where, body.dump(), "Idempotency-Key: " + key + "\r\n");
  }
  RawResponse ask_keyed(const std::string& where, const Json& body, const std::string& key) const {
    return ask(keyed(where, body, key));
  }
  static bool is_replayed(const RawResponse& response) {
    const auto found = response.headers.find("idempotent-replayed");
    return found != response.headers.end() && found->second == "true";
  }
  static void expect_same(const RawResponse& first, const RawResponse& again) {
    EXPECT_EQ(first.status, 200) << first.body;
    EXPECT_EQ(again.status, 200) << again.body;
    EXPECT_TRUE(again.complete);
    EXPECT_EQ(first.body, again.body);
    EXPECT_FALSE(is_replayed(first));
    EXPECT_TRUE(is_replayed(again)) << again.raw_head;
  }
  static std::string text_of(const RawResponse& stream) {
    std::string text;
    for (const std::string& event : events_of(stream.body)) {
      if (event != "[DONE]") text += Json::parse(event)["choices"][0]["text"].get<std::string>();
    }
    return text;
  }
  std::size_t num_turns() const { return engine->requests().size(); }
  double metric(const std::string& name) const {
    const std::string text = ask(get("/metrics")).body;
    const std::size_t at = text.find("\n" + name + " ");
    EXPECT_NE(at, std::string::npos) << name;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
};

TEST_F(RetriesTest, TheSameKeyGetsTheSameAnswer) {
  start();
  const std::string id = open();
  for (const bool streams : {false, true}) {
    const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}, {"stream", streams}};
    const std::string key = streams ? "b" : "a";
    const std::size_t before = num_turns();
    const RawResponse first = ask_keyed(kText, body, key);
    const std::int64_t seen = show(id)["seen_tokens"];
    expect_same(first, ask_keyed(kText, body, key));
    expect_same(first, ask_keyed(kText, body, key));
    EXPECT_EQ(num_turns(), before + 1);
    EXPECT_EQ(show(id)["seen_tokens"], seen);
    EXPECT_EQ(transcript(id)["tokens"], Json(kept()));
  }
  EXPECT_EQ(metric("sinkstream_replays_total"), 4);
  EXPECT_EQ(metric("sinkstream_recorded_answers"), 2);
  EXPECT_GT(metric("sinkstream_recorded_answer_bytes"), 2048);
}

TEST_F(RetriesTest, TheSameExpectedSeenGetsTheSameAnswer) {
  start();
  const std::string id = open();
  Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}, {"expected_seen", 0}};
  const RawResponse first = post_json(kText, body);
  expect_same(first, post_json(kText, body));
  const Json appended = {{"prompt", {7}}, {"expected_seen", 5}};
  const RawResponse taken_in = post_json(path(id, "append"), appended);
  expect_same(taken_in, post_json(path(id, "append"), appended));
  EXPECT_EQ(show(id)["seen_tokens"], 6);
  expect_same(first, post_json(kText, body));
  EXPECT_EQ(num_turns(), 2u);
  // Another turn is none that is known.
  body["max_tokens"] = 4;
  const RawResponse stale = post_json(kText, body);
  EXPECT_EQ(stale.status, 409);
  EXPECT_EQ(error_of(stale)["code"], "stale_session");
  EXPECT_EQ(error_of(stale)["seen_tokens"], 6);
  EXPECT_EQ(stale.headers.at("x-should-retry"), "false");
}

TEST_F(RetriesTest, AKeyIsOfOneRequest) {
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}};
  EXPECT_EQ(ask_keyed(kText, body, "key").status, 200);
  Json other = body;
  other["prompt"] = {5, 7};
  for (const auto& [where, asked] : {std::pair(kText, other), std::pair(kChat, body),
                                     std::pair(kSessions, body), std::pair(path(id, "append"), body)}) {
    const RawResponse refused = ask_keyed(where, asked, "key");
    EXPECT_EQ(refused.status, 422) << where << refused.body;
    EXPECT_EQ(error_of(refused)["code"], "idempotency_key_reused");
    EXPECT_EQ(error_of(refused)["param"], "Idempotency-Key");
  }
  EXPECT_EQ(show(id)["seen_tokens"], 5);
  EXPECT_EQ(ask_keyed(kText, other, std::string(256, 'k')).status, 400);
  EXPECT_EQ(ask_keyed(kText, other, "k\xc3\xa4").status, 400);
  EXPECT_EQ(ask_keyed(kText, other, "a\r\nIdempotency-Key: b").status, 400);
  EXPECT_EQ(ask_keyed(kText, other, std::string(255, 'k')).status, 200);
}

TEST_F(RetriesTest, ARetryJoinsTheTurnUnderWay) {
  start();
  const std::string id = open();
  for (const bool streams : {false, true}) {
    const std::int64_t seen = show(id)["seen_tokens"];
    const Json body = {
        {"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}, {"expected_seen", seen}, {"stream", streams}};
    engine->hold(true);
    RawClient first(address);
    first.send(post(kText, body.dump()));
    ASSERT_TRUE(eventually([&] { return engine->num_active() == 1; }));
    RawClient again(address);
    again.send(post(kText, body.dump()));
    ASSERT_TRUE(eventually([&] { return metric("sinkstream_replays_total") == (streams ? 3 : 1); }));
    engine->hold(false);
    const RawResponse answered = first.receive();
    const RawResponse joined = again.receive();
    expect_same(answered, joined);
    expect_same(answered, post_json(kText, body));
  }
}

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

TEST_F(RetriesTest, FailuresAreTriedAgain) {
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}, {"expected_seen", 0}};
  const std::vector<std::pair<RefusalReason, int>> refusals = {{RefusalReason::queue_full, 429},
                                                               {RefusalReason::ending, 503}};
  for (const auto& [reason, status] : refusals) {
    engine->refuse_next(reason, "");
    const RawResponse refused = ask_keyed(kText, body, "key");
    EXPECT_EQ(refused.status, status);
    EXPECT_TRUE(refused.headers.contains("retry-after"));
  }
  const RawResponse first = ask_keyed(kText, body, "key");
  expect_same(first, ask_keyed(kText, body, "key"));

  say("word ", true);
  const Json next = {{"session", id}, {"prompt", {5}}, {"max_tokens", 90000}, {"stream", true}};
  RawClient client(address);
  client.send(keyed(kText, next, "next"));
  ASSERT_TRUE(client.receive_until("data: "));
  engine->fail_all("rank 1 is lost", FinishReason::failed);
  EXPECT_FALSE(client.receive().complete) << "a stream that failed breaks off";
  say("word ");
  const std::int64_t seen = show(id)["seen_tokens"];
  const RawResponse again = ask_keyed(kText, next, "next");
  EXPECT_EQ(error_of(again)["code"], "turn_ended_early")
      << "what was told stays, so it is not taken in twice";
  EXPECT_EQ(show(id)["seen_tokens"], seen);
  EXPECT_EQ(ask_keyed(kText, next, "another").status, 200);
}

// Also where its client has left before: it is not in the engine yet, or is refused there.
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
  leave(kText, turn, "opened", [&] {
    return metric("sinkstream_aborted_total{why=\"client_left\"}") == 1;
  });
  const auto is_cancelled = [&] { return engine->num_unheard() == 2; };
  engine->refuse_next(RefusalReason::ending, "");
  leave(kText, turn, "refused", is_cancelled);
  engine->refuse_next(RefusalReason::ending, "");
  leave(path(id, "append"), appended, "refused append", is_cancelled);
}

// A turn works where no answer may be kept.
TEST_F(RetriesTest, TurnsGoOnWithoutRoomForTheirAnswers) {
  api_settings.sessions.replay_bytes = 0;
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}, {"expected_seen", 0}};
  EXPECT_EQ(ask_keyed(kText, body, "key").status, 200);
}

TEST_F(RetriesTest, SessionsAreMadeAndForkedAndRolledBackOnce) {
  start();
  const Json made = {{"prompt", {5, 6}}};
  const RawResponse first = ask_keyed(kSessions, made, "make");
  expect_same(first, ask_keyed(kSessions, made, "make"));
  const std::string id = Json::parse(first.body)["id"];
  turn(id, {{"prompt", {7, 8, 9}}, {"max_tokens", 2}});

  const RawResponse forked = ask_keyed(path(id, "fork"), {{"at", 4}}, "fork");
  expect_same(forked, ask_keyed(path(id, "fork"), {{"at", 4}}, "fork"));
  EXPECT_EQ(Json::parse(ask(get(kSessions)).body)["data"].size(), 2u);

  const RawResponse back = ask_keyed(path(id, "rollback"), {{"to", 4}}, "back");
  answer(path(id, "append"), {{"prompt", {3, 3, 3}}});
  expect_same(back, ask_keyed(path(id, "rollback"), {{"to", 4}}, "back"));
  EXPECT_EQ(show(id)["seen_tokens"], 7) << "it went back once";

  const RawResponse appended = ask_keyed(path(id, "append"), {{"prompt", {4}}}, "append");
  expect_same(appended, ask_keyed(path(id, "append"), {{"prompt", {4}}}, "append"));
  EXPECT_EQ(show(id)["seen_tokens"], 8);
}

// To answer anew: back, and the same again.
TEST_F(RetriesTest, AfterARollbackATurnIsNewAndAKeyIsNot) {
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}, {"expected_seen", 0}};
  const Json first = answer(kText, body);
  answer(path(id, "rollback"), {{"to", 0}});
  const Json again = answer(kText, body);
  EXPECT_NE(first["id"], again["id"]);
  EXPECT_EQ(show(id)["seen_tokens"], 5);
  EXPECT_EQ(num_turns(), 2u);

  answer(path(id, "rollback"), {{"to", 0}});
  const RawResponse keyed_answer = ask_keyed(kText, body, "key");
  EXPECT_FALSE(is_replayed(keyed_answer));
  answer(path(id, "rollback"), {{"to", 0}});
  expect_same(keyed_answer, ask_keyed(kText, body, "key"));
  EXPECT_EQ(show(id)["seen_tokens"], 0);
}

TEST_F(RetriesTest, KeysAreTheirOwners) {
  const TemporaryDirectory directory;
  settings.api_key_file = (directory.path() / "keys").string();
  std::ofstream(settings.api_key_file) << "anna\nbert\n";
  start();
  const auto create_as = [&](const std::string& who) {
    return ask(post(kSessions, "{}", "x-api-key: " + who + "\r\nIdempotency-Key: key\r\n"));
  };
  const RawResponse annas = create_as("anna");
  EXPECT_NE(create_as("bert").body, annas.body);
  expect_same(annas, create_as("anna"));
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

TEST_F(RetriesTest, WithoutASessionAKeyMeansNothing) {
  start();
  const Json body = {{"prompt", "x"}, {"max_tokens", 3}};
  EXPECT_NE(ask_keyed(kText, body, "key").body, ask_keyed(kText, body, "key").body);
  EXPECT_EQ(ask_keyed(kText, {{"prompt", "y"}}, "key").status, 200);
  EXPECT_EQ(num_turns(), 3u);
}

TEST_F(RetriesTest, WarningsAreSaidAgain) {
  const ChatTemplate trims(TemplateSources{.usual = "{% for m in messages %}[{{ m.role }}]{{ m.content | "
                                                    "trim }}{% if not loop.last %};{% endif %}{% endfor %}"
                                                    "{% if add_generation_prompt %}[answer]{% endif %}",
                                           .usual_file = "x"});
  start(trims);
  say(" padded ");
  const std::string id = open();
  say_to(id, "one");
  Json body = chat("two");
  body["session"] = id;
  const RawResponse first = ask_keyed(kChat, body, "key");
  ASSERT_TRUE(first.headers.contains("x-sinkstream-warning"));
  const RawResponse again = ask_keyed(kChat, body, "key");
  expect_same(first, again);
  EXPECT_EQ(first.headers.at("x-sinkstream-warning"), again.headers.at("x-sinkstream-warning"));
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
