// Sessions on disk: what a client was told is there when the server starts anew.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "coordinator/store/session_store.h"
#include "tests/coordinator/api/sessions/durable_sessions_fixture.h"

namespace sinkstream::testing {
namespace {

TEST_F(DurableSessionsTest, GoOnAfterARestart) {
  start();
  const std::string id =
      open({{"instructions", "Be kind."}, {"metadata", {{"user", "x"}}}, {"ttl_seconds", 1000}});
  say_to(id, "Hello");
  turn(id, {{"prompt", {7, 8, 9}}, {"max_tokens", 2}});
  const Json before = show(id);
  const auto tokens = tokens_told(id);
  restart();
  Json after = show(id);
  EXPECT_EQ(after["resident_tokens"], 0);
  EXPECT_EQ(after["bytes"], 0);
  for (const char* name : {"id", "seen_tokens", "pinned_tokens", "window_tokens", "ttl_seconds", "created_at",
                           "metadata", "status", "same_arithmetic"}) {
    EXPECT_EQ(after[name], before[name]) << name;
  }
  EXPECT_EQ(Json::parse(ask(get(kSessions)).body)["data"].size(), 1u);
  EXPECT_EQ(tokens_told(id), tokens);
  turn(id, {{"prompt", {5}}, {"max_tokens", 1}});
  EXPECT_EQ(newest_past().tokens(), std::ssize(tokens));
  EXPECT_EQ(engine->requests().back().prompt.list(), std::vector<TokenId>{5});
  EXPECT_EQ(show(id)["seen_tokens"], std::ssize(tokens) + 2);
}

// What a chat adds depends on what stood before.
TEST_F(DurableSessionsTest, ChatsGoOnAfterARestart) {
  start();
  const std::string straight = open({{"instructions", "Be kind."}});
  const std::string broken = open({{"instructions", "Be kind."}});
  for (const std::string& id : {straight, broken}) say_to(id, "Hello");
  restart();
  for (const std::string& id : {straight, broken}) say_to(id, "And you?");
  Json messages = Json::array({message("system", "Be kind."), message("user", "Hello"),
                               message("assistant", "Hello, dear world!"), message("user", "And you?")});
  std::vector<TokenId> expected = rendered(messages, true);
  const auto reply = tokens_of("Hello, dear world!");
  expected.insert(expected.end(), reply.begin(), reply.end());
  EXPECT_EQ(tokens_told(broken), expected);
}

// Penalties look back on the newest answers, however much was read between them.
TEST_F(DurableSessionsTest, PenaltiesLookBackAsFarAfterARestart) {
  start();
  const std::string id = open();
  for (int i = 0; i < 3; ++i) {
    say_to(id, "Hello");
    answer(path(id, "append"), {{"prompt", std::vector<TokenId>(3000, 5)}});
  }
  const std::size_t length = 3 * tokens_of("Hello, dear world!").size();
  EXPECT_EQ(earlier_output(id).size(), length);
  restart();
  EXPECT_EQ(earlier_output(id).size(), length + 1);
}

// Also those that begin before what a session can go back to for nothing, and that were cut.
TEST_F(DurableSessionsTest, PenaltiesKnowWhatWasTakenBack) {
  start();
  const std::string straight = open(), broken = open();
  std::int64_t in_second = 0;
  for (const std::string& id : {straight, broken}) {
    say_to(id, "Hello");
    answer(path(id, "append"), {{"prompt", std::vector<TokenId>(1000, 5)}});
    in_second = say_to(id, "Hello")["usage"]["session"]["seen_tokens"].get<std::int64_t>() - 2;
    answer(path(id, "append"), {{"prompt", std::vector<TokenId>(3000, 5)}});
    say_to(id, "Hello");
  }
  for (const bool restarts : {false, true}) {
    const std::string id = restarts ? broken : straight;
    if (restarts) restart();
    answer(path(id, "rollback"), {{"to", in_second}});
    if (restarts) restart();
    answer(path(id, "append"), {{"prompt", std::vector<TokenId>(300, 6)}});
    if (restarts) restart();
    const auto output = earlier_output(id);
    EXPECT_EQ(std::ranges::count(output, 6), 0) << "that is no answer";
    EXPECT_EQ(output.size(), 2 * tokens_of("Hello, dear world!").size() - 2) << restarts;
  }
  const std::string copy = answer(path(broken, "fork"), {{"at", in_second - 1}})["id"];
  restart();
  EXPECT_EQ(earlier_output(copy).size(), 2 * tokens_of("Hello, dear world!").size() - 3);
}

// What is written of each turn is as much, however many there were.
TEST_F(DurableSessionsTest, TheirDescriptionDoesNotGrowWithTheirTurns) {
  start();
  const std::string id = open();
  const auto bytes_after = [&](int turns) {
    for (int i = 0; i < turns; ++i) {
      say_to(id, "Hello");
      answer(path(id, "append"), {{"messages", Json::array({message("user", "Hello")})}});
    }
    coordinator->stop();
    coordinator.reset();
    const std::size_t bytes =
        SessionStore({.directory = api_settings.sessions.directory, .model = "abc", .model_name = ""})
            .head(id)
            .size();
    start();
    return bytes;
  };
  const std::size_t before = bytes_after(20);
  EXPECT_LT(bytes_after(100), before + 100);
}

TEST_F(DurableSessionsTest, BeforeTheirFirstTurn) {
  start();
  const std::string id = open({{"prompt", {5, 6, 7}}});
  restart();
  EXPECT_EQ(show(id)["seen_tokens"], 3);
  turn(id, {{"prompt", {8}}, {"max_tokens", 1}});
  EXPECT_EQ(newest_past().tokens(), 0);
  EXPECT_EQ(engine->requests().back().prompt.list(), (std::vector<TokenId>{5, 6, 7, 8}));
}

TEST_F(DurableSessionsTest, LongOnesAreMadeAnewFromWhatTheyDependOn) {
  limits.session.num_layers = 3;
  api_settings.sessions.transcript_tokens = 5000;
  start();
  const std::string id = open();
  std::vector<TokenId> all;
  for (TokenId first = 0; first < 6; ++first) {
    std::vector<TokenId> part;
    for (int i = 0; i < 2000; ++i) part.push_back(5 + (first + i) % 90);
    answer(path(id, "append"), {{"prompt", part}});
    all.insert(all.end(), part.begin(), part.end());
  }
  const std::string copy = answer(path(id, "fork"), {{"at", 9000}})["id"];
  answer(path(id, "rollback"), {{"to", 11000}});
  restart();
  for (const auto& [session, length] : {std::pair(id, 11000), std::pair(copy, 9000)}) {
    EXPECT_EQ(show(session)["seen_tokens"], length);
    turn(session, {{"prompt", {5}}, {"max_tokens", 1}});
    const Past& made = newest_past();
    ASSERT_TRUE(made.has_gap());
    EXPECT_EQ(made.tokens(), length);
    EXPECT_EQ(made.sinks.list(), std::vector<TokenId>(all.begin(), all.begin() + 4));
    EXPECT_EQ(made.recent.list(), std::vector<TokenId>(all.begin() + made.begin, all.begin() + length));
    const RawResponse gone = ask(get(path(session, "transcript") + "?from=10"));
    EXPECT_EQ(gone.status, 410);
    const RawResponse dropped = ask(get(path(session, "transcript") + "?from=10&to=20"));
    EXPECT_EQ(error_of(dropped)["first_kept"], session == id ? 6002 : 6000);
    const Json kept = transcript(session);
    EXPECT_EQ(kept["tokens"].size(), session == id ? 5000u : 3002u) << "a copy has what was left to copy";
    EXPECT_EQ(kept["to"], length + 2);
    EXPECT_EQ(kept["tokens"].back(), tokens_told(session).back());
  }
}

// It is on disk before memory lets go of it.
TEST_F(DurableSessionsTest, OneTurnMayBringMoreThanMemoryKeeps) {
  limits.session.num_layers = 3;
  api_settings.sessions.transcript_tokens = 40;
  limits.session.sink_capacity = 3'000;
  start();
  std::vector<TokenId> all;
  for (int i = 0; i < 30'000; ++i) all.push_back(5 + i % 90);
  const std::vector<TokenId> prefix(all.begin(), all.begin() + 2'900), more(all.begin() + 2'900, all.end());
  const std::string id = open({{"prompt", prefix}});
  answer(path(id, "append"), {{"prompt", more}});
  EXPECT_EQ(transcript(id, "?from=29960")["tokens"].get<std::vector<TokenId>>(),
            std::vector<TokenId>(all.end() - 40, all.end()));
  for (int i = 0; i < 2; ++i) {
    restart();
    EXPECT_EQ(show(id)["seen_tokens"], all.size());
    turn(id, {{"prompt", {5}}, {"max_tokens", 1}});
    const Past& made = newest_past();
    EXPECT_EQ(made.sinks.list(), prefix);
    EXPECT_EQ(made.recent.list(), std::vector<TokenId>(all.begin() + made.begin, all.end()));
    all.push_back(5);
    all.push_back(tokens_told(id).back());
  }
}

// Whatever part of it is asked for, and however much more is on disk.
TEST_F(DurableSessionsTest, ATranscriptSaysWhereItBegins) {
  api_settings.sessions.transcript_tokens = 40;
  start();
  const std::string shorter = open();
  answer(path(shorter, "append"), {{"prompt", std::vector<TokenId>(117, 5)}});
  const std::string pruned = open();
  for (int i = 0; i < 20; ++i) answer(path(pruned, "append"), {{"prompt", std::vector<TokenId>(300, 5)}});
  const std::string copy = answer(path(pruned, "fork"), {{"at", 5990}})["id"];
  for (const auto& [id, begin] : {std::pair(shorter, 77), std::pair(pruned, 5960), std::pair(copy, 5950)}) {
    for (const char* dropped : {"?from=0", "?from=10&to=20", "?from=0&to=10"}) {
      const RawResponse gone = ask(get(path(id, "transcript") + dropped));
      EXPECT_EQ(gone.status, 410) << gone.body;
      EXPECT_EQ(error_of(gone)["first_kept"], begin) << dropped;
    }
    const Json none = transcript(id, "?to=10");
    EXPECT_EQ(none["from"], begin);
    EXPECT_EQ(none["to"], begin);
    EXPECT_EQ(transcript(id, "?from=" + std::to_string(begin))["tokens"].size(), 40u);
  }
}

TEST_F(DurableSessionsTest, EndedOnesStayEnded) {
  start();
  const std::string deleted = open();
  const std::string unused = open({{"ttl_seconds", 1}});
  turn(deleted, {{"prompt", {5}}, {"max_tokens", 1}});
  remove(deleted);
  coordinator->stop();
  coordinator.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));  // whole seconds are kept
  start();
  EXPECT_EQ(ask(get(path(deleted))).status, 404);
  EXPECT_EQ(ask(get(path(unused))).status, 404);
}

TEST_F(DurableSessionsTest, AKeyIsKnownAfterARestart) {
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}};
  EXPECT_EQ(keyed(address, kText, body, "key").status, 200);
  engine->refuse_next(RefusalReason::ending, "");
  EXPECT_EQ(keyed(address, kText, body, "failed").status, 503);
  restart();
  const std::int64_t seen = show(id)["seen_tokens"];
  const RawResponse again = keyed(address, kText, body, "key");
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(error_of(again)["code"], "answer_not_kept");
  EXPECT_EQ(show(id)["seen_tokens"], seen) << "it is not done twice";
  EXPECT_EQ(error_of(keyed(address, kText, {{"session", id}}, "key"))["code"], "idempotency_key_reused");
  EXPECT_EQ(keyed(address, kText, body, "failed").status, 200) << "what changed nothing is tried again";
}

// What was under way when the server ended is known for its time after that, not after each start.
TEST_F(DurableSessionsTest, AKeyThatWasUnderWayExpires) {
  api_settings.sessions.replay_seconds = 1;
  api_settings.sessions.sync_seconds = 1000;
  start();
  const std::string id = open();
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 3}};
  engine->hold(true);
  RawClient client(address);
  client.send(post(kText, body.dump(), "Idempotency-Key: key\r\n"));
  ASSERT_TRUE(eventually([&] { return engine->num_active() == 1; }));
  for (int i = 0; i < 2; ++i) show(id);  // it is written, and nothing is under way
  const TemporaryDirectory copy;         // as kill -9 leaves it
  std::filesystem::copy(api_settings.sessions.directory, copy.path() / "sessions");
  coordinator->stop();
  coordinator.reset();
  api_settings.sessions.directory = copy.path() / "sessions";
  start();
  EXPECT_EQ(error_of(keyed(address, kText, body, "key"))["code"], "answer_not_kept");
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));  // whole seconds are kept
  restart();
  EXPECT_EQ(keyed(address, kText, body, "key").status, 200);
}

TEST_F(DurableSessionsTest, BelongToTheirKeysWhichAreNotOnTheDisk) {
  settings.api_key_file = directory.write("keys", "a-secret-key\nanother-key\n").string();
  start();
  const auto show_to = [&](const std::string& key, const std::string& id) {
    return ask("GET " + path(id) + " HTTP/1.1\r\nHost: localhost\r\nx-api-key: " + key + "\r\n\r\n");
  };
  const auto make_as = [&](const std::string& key) {
    return ask(post(kSessions, "{}", "x-api-key: " + key + "\r\nIdempotency-Key: make\r\n"));
  };
  const std::string id = Json::parse(make_as("a-secret-key").body)["id"];
  restart();
  EXPECT_EQ(show_to("a-secret-key", id).status, 200);
  EXPECT_EQ(show_to("another-key", id).status, 404);
  EXPECT_EQ(make_as("a-secret-key").status, 409) << "it is known";
  EXPECT_EQ(make_as("another-key").status, 200);
  for (const auto& file : std::filesystem::directory_iterator(api_settings.sessions.directory)) {
    std::ifstream in(file.path(), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(in), {});
    EXPECT_EQ(bytes.find("a-secret-key"), bytes.npos) << file.path();
  }
}

TEST_F(DurableSessionsTest, OtherArithmeticIsSaid) {
  start();
  const std::string id = open();
  turn(id, {{"prompt", {5}}, {"max_tokens", 1}});
  EXPECT_EQ(show(id)["same_arithmetic"], true);
  api_settings.arithmetic = "another";
  restart();
  EXPECT_EQ(show(id)["same_arithmetic"], false);
  turn(id, {{"prompt", {5}}, {"max_tokens", 1}});
  restart();
  EXPECT_EQ(show(id)["same_arithmetic"], false) << "from now on";
}

// They wait, and can be read, until there is room for them again.
TEST_F(DurableSessionsTest, ThatRememberMoreThanThereIsRoomForAreAConflict) {
  start();
  const std::string pinned = open({{"prompt", std::vector<TokenId>(20, 5)}});
  const std::string wide = open();
  for (const std::string& id : {pinned, wide}) turn(id, {{"prompt", {5}}, {"max_tokens", 1}});
  const auto before = limits.session;
  const auto refused = [&](const std::string& id) {
    const auto tokens = tokens_told(id);
    for (const auto& [where, body] : {std::pair(kText, Json{{"session", id}, {"prompt", {5}}}),
                                      std::pair(path(id, "append"), Json{{"prompt", {5}}}),
                                      std::pair(path(id, "fork"), Json::object())}) {
      const RawResponse response = post_json(where, body);
      EXPECT_EQ(response.status, 409) << response.body;
      EXPECT_EQ(error_of(response)["code"], "window_too_large");
    }
    EXPECT_EQ(tokens_told(id), tokens);
  };
  limits.session.sink_capacity = 8;
  restart();
  refused(pinned);
  turn(wide, {{"prompt", {5}}, {"max_tokens", 1}});
  limits.session = before;
  --limits.session.window.window_tokens;
  restart();
  refused(wide);
  limits.session = before;
  restart();
  for (const std::string& id : {pinned, wide}) turn(id, {{"prompt", {5}}, {"max_tokens", 1}});
}

TEST_F(DurableSessionsTest, AnotherModelIsRefused) {
  start();
  open();
  coordinator->stop();
  coordinator.reset();
  api_settings.model_fingerprint = "another";
  EXPECT_THROW(start(), StartupError);
}

TEST_F(DurableSessionsTest, WhatCantBeWrittenIsNotTold) {
  start();
  const std::string id = open();
  turn(id, {{"prompt", {5, 6}}, {"max_tokens", 3}});
  const auto tokens = tokens_told(id);
  {
    const NoRoom full;
    const RawResponse refused =
        post_json(kText, {{"session", id}, {"prompt", std::vector<TokenId>(50, 9)}, {"max_tokens", 3}});
    EXPECT_EQ(refused.status, 503) << refused.body;
    EXPECT_EQ(error_of(refused)["code"], "journal_failed");
    EXPECT_EQ(post_json(kSessions, Json::object()).status, 503);
    EXPECT_EQ(post_json(kText, {{"prompt", "x"}, {"max_tokens", 1}}).status, 200) << "others need no disk";
    const RawResponse health = ask(get("/health"));
    EXPECT_EQ(health.status, 200);
    EXPECT_EQ(Json::parse(health.body)["journal"]["status"], "failed") << health.body;
  }
  EXPECT_TRUE(is_idle_again(id));
  EXPECT_EQ(show(id)["seen_tokens"], std::ssize(tokens));
  EXPECT_EQ(Json::parse(ask(get(kSessions)).body)["data"].size(), 1u);
  turn(id, {{"prompt", {7}}, {"max_tokens", 1}});
  EXPECT_EQ(newest_past().tokens(), std::ssize(tokens));
  EXPECT_EQ(ask(get("/health")).body, R"({"status":"ok"})");
  restart();
  EXPECT_EQ(show(id)["seen_tokens"], std::ssize(tokens) + 2);
}

TEST_F(DurableSessionsTest, WhoCantBeRemovedIsThereAsBefore) {
  start();
  const std::string id = open();
  turn(id, {{"prompt", {5, 6}}, {"max_tokens", 3}});
  const auto tokens = tokens_told(id);
  {
    const NoRoom full;
    const RawResponse refused = remove(id);
    EXPECT_EQ(refused.status, 503) << refused.body;
    EXPECT_EQ(error_of(refused)["code"], "journal_failed");
    EXPECT_EQ(ask(get(path(id))).status, 200) << "which can be tried again";
    EXPECT_EQ(remove(id).status, 503);
  }
  EXPECT_EQ(show(id)["seen_tokens"], std::ssize(tokens));
  EXPECT_EQ(tokens_told(id), tokens);
  turn(id, {{"prompt", {7}}, {"max_tokens", 1}});
  EXPECT_EQ(newest_past().tokens(), std::ssize(tokens));
  EXPECT_EQ(remove(id).status, 200);
  EXPECT_EQ(ask(get(path(id))).status, 404);
  restart();
  EXPECT_EQ(ask(get(path(id))).status, 404);
}

// The turn that it was in ends, and writes nothing more.
TEST_F(DurableSessionsTest, WhoCantBeRemovedInATurnIsFree) {
  start();
  const std::string id = open();
  say("word ", true);
  engine->set_token_time(std::chrono::milliseconds(1));
  RawClient client(address);
  client.send(post(kText, Json{{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 90000}}.dump()));
  ASSERT_TRUE(eventually([&] { return show(id)["seen_tokens"] > 20; }));
  {
    const NoRoom full;
    EXPECT_EQ(remove(id).status, 503);
    EXPECT_NE(client.receive().status, 200);
  }
  say("Hello, dear world!");
  EXPECT_EQ(show(id)["status"], "idle");
  const std::int64_t kept = show(id)["seen_tokens"];
  turn(id, {{"prompt", {7}}, {"max_tokens", 1}});
  EXPECT_EQ(show(id)["seen_tokens"], kept + 2);
  restart();
  EXPECT_EQ(show(id)["seen_tokens"], kept + 2);
}

// It ends at once. A retry would take in once more what is there.
TEST_F(DurableSessionsTest, ATurnThatWasWrittenInPartIsNotTriedAgain) {
  start();
  const std::string id = open();
  say("word ", true);
  engine->set_token_time(std::chrono::milliseconds(1));
  const Json body = {{"session", id}, {"prompt", {5, 6}}, {"max_tokens", 90000}};
  {
    RawClient client(address);
    client.send(post(kText, body.dump(), "Idempotency-Key: key\r\n"));
    ASSERT_TRUE(eventually([&] { return show(id)["seen_tokens"] > 20; }));
    const NoRoom full;
    const RawResponse broken_off = client.receive();
    EXPECT_EQ(broken_off.status, 503);
    EXPECT_EQ(error_of(broken_off)["code"], "journal_failed");
  }
  ASSERT_TRUE(is_idle_again(id));
  EXPECT_LT(engine->num_events(), 90000);
  const Json kept = show(id)["seen_tokens"];
  EXPECT_GT(kept, 20);
  EXPECT_EQ(error_of(keyed(address, kText, body, "key"))["code"], "turn_ended_early");
  EXPECT_EQ(show(id)["seen_tokens"], kept);
}

}  // namespace
}  // namespace sinkstream::testing
