// Requests that change sessions, sent again: nothing is done twice, and the answer is the one that was made.
#include <fstream>

#include "tests/coordinator/api/retries/retries_fixture.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

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

// A turn works where no answer may be kept, and is not done twice.
TEST_F(RetriesTest, TurnsGoOnWithoutRoomForTheirAnswers) {
  api_settings.sessions.replay_bytes = 0;
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}};
  EXPECT_EQ(ask_keyed(kText, body, "key").status, 200);
  EXPECT_EQ(error_of(ask_keyed(kText, body, "key"))["code"], "answer_not_kept");
  EXPECT_EQ(show(id)["seen_tokens"], 5);
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

}  // namespace
}  // namespace sinkstream::testing
