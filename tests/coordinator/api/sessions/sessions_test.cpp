// Sessions that clients keep: turns, going back, forks, transcripts, owners.
#include <algorithm>
#include <fstream>

#include "tests/coordinator/api/sessions/sessions_fixture.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

TEST_F(SessionsTest, LiveAndEnd) {
  start();
  const Json made =
      answer(kSessions, {{"metadata", {{"user", "x"}}}, {"ttl_seconds", 60}, {"window_tokens", 20}});
  const std::string id = made["id"];
  EXPECT_TRUE(id.starts_with("sess_"));
  EXPECT_EQ(id.size(), 5u + 32u);
  EXPECT_EQ(made["object"], "session");
  EXPECT_EQ(made["status"], "idle");
  EXPECT_EQ(made["seen_tokens"], 0);
  EXPECT_EQ(made["metadata"], Json({{"user", "x"}}));
  EXPECT_EQ(show(id), made);
  EXPECT_TRUE(engine->sessions().empty()) << "before its first turn";
  const std::string other = open();
  turn(other, {{"prompt", {7}}, {"max_tokens", 1}});
  turn(id, {{"prompt", {7}}, {"max_tokens", 1}});
  EXPECT_EQ(engine->commands<OpenSession>().at(1).window, (CacheWindow{4, 20}));
  const Json list = Json::parse(ask(get(kSessions)).body);
  ASSERT_EQ(list["data"].size(), 2u);
  EXPECT_EQ(list["data"][0]["id"], id);
  EXPECT_NE(ask(get("/metrics")).body.find("sinkstream_open_sessions 2"), std::string::npos);

  EXPECT_EQ(Json::parse(remove(id).body)["deleted"], true);
  EXPECT_EQ(ask(get(path(id))).status, 404);
  EXPECT_EQ(remove(id).status, 404);
  EXPECT_TRUE(eventually([&] { return engine->sessions().size() == 1; }));
  EXPECT_EQ(post_json(kText, {{"prompt", "x"}, {"session", id}}).status, 404);
}

TEST_F(SessionsTest, BytesAreThoseOfItsSlot) {
  api_settings.slot_bytes = 12345;
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  EXPECT_EQ(show(id)["bytes"], 0) << "it takes one with its first turn";
  turn(id, {{"prompt", {7}}, {"max_tokens", 1}});
  EXPECT_EQ(show(id)["bytes"], 12345);
  turn(id, {{"prompt", std::vector<TokenId>(100, 5)}, {"max_tokens", 1}});
  EXPECT_EQ(show(id)["bytes"], 12345) << "whatever it has seen";
  EXPECT_EQ(answer(path(id, "fork"), Json::object())["bytes"], 12345);
}

TEST_F(SessionsTest, ATurnTakesInOnlyWhatIsNew) {
  start();
  const std::string id = open();
  const Json first = turn(id, {{"prompt", {5, 6, 7}}, {"max_tokens", 3}});
  const std::vector<TokenId> reply = tokens_of("Hello, dear world!");
  EXPECT_EQ(first["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(first["usage"]["session"]["seen_tokens"], 6);
  const Json second = turn(id, {{"prompt", {8}}, {"expected_seen", 6}});
  EXPECT_EQ(second["usage"]["prompt_tokens"], 1);
  EXPECT_EQ(engine->requests().back().prompt.list(), (std::vector<TokenId>{8}));
  std::vector<TokenId> all = {5, 6, 7, reply[0], reply[1], reply[2], 8};
  all.insert(all.end(), reply.begin(), reply.end());
  EXPECT_EQ(kept(), all);
  EXPECT_EQ(transcript(id)["tokens"], Json(all));
  EXPECT_EQ(show(id)["seen_tokens"], std::ssize(all));
  EXPECT_EQ(second["usage"]["session"]["seen_tokens"], std::ssize(all));

  // It goes on: what was taken in last is taken in anew, since there is nothing else to choose from.
  turn(id, {{"max_tokens", 1}});
  EXPECT_EQ(engine->commands<RollBackSession>().back().to, std::ssize(all) - 1);
  EXPECT_EQ(engine->requests().back().prompt.list(), (std::vector<TokenId>{all.back()}));
  all.push_back(reply[0]);
  EXPECT_EQ(kept(), all);
  // What is pending is enough to go on from.
  turn(id, {{"max_tokens", 1}});
  EXPECT_EQ(engine->commands<RollBackSession>().size(), 1u);
  EXPECT_TRUE(engine->requests().back().prompt.empty());
}

TEST_F(SessionsTest, WhatIsStaleOrBusyIsRefused) {
  start();
  const std::string id = open();
  EXPECT_EQ(error_of(post_json(kText, {{"session", id}}))["param"], "prompt");
  EXPECT_EQ(post_json(kText, {{"session", id}, {"prompt", "x"}, {"n", 2}}).status, 400);
  EXPECT_EQ(post_json(kText, {{"prompt", "x"}, {"expected_seen", 0}}).status, 400);
  turn(id, {{"prompt", {5, 6}}, {"max_tokens", 1}});
  const RawResponse stale = post_json(kText, {{"session", id}, {"prompt", "x"}, {"expected_seen", 2}});
  EXPECT_EQ(stale.status, 409);
  EXPECT_EQ(error_of(stale)["code"], "stale_session");
  EXPECT_EQ(error_of(stale)["seen_tokens"], 3);

  say("word ", true);
  RawClient client(address);
  client.send(
      post(kText, Json({{"session", id}, {"prompt", "x"}, {"max_tokens", 90000}, {"stream", true}}).dump()));
  ASSERT_TRUE(client.receive_until("data: "));
  EXPECT_EQ(show(id)["status"], "running");
  const RawResponse busy = post_json(kText, {{"session", id}, {"prompt", "x"}});
  EXPECT_EQ(busy.status, 409);
  EXPECT_EQ(error_of(busy)["code"], "session_busy");
  EXPECT_EQ(post_json(path(id, "rollback"), {{"to", 2}}).status, 409);
  // A client that leaves ends its turn, and what was told stays.
  client.close();
  ASSERT_TRUE(eventually([&] { return show(id)["status"] == "idle"; }));
  EXPECT_EQ(show(id)["seen_tokens"], std::ssize(kept()));
  EXPECT_EQ(transcript(id)["tokens"], Json(kept()));
}

TEST_F(SessionsTest, AStopStringTakesTheSessionBackToWhatWasTold) {
  start();
  say("one two three", true);
  const std::string id = open();
  const Json body = turn(id, {{"prompt", {5, 6}}, {"stop", "o thr"}, {"max_tokens", 500}});
  const std::string text = body["choices"][0]["text"];
  const Json all = transcript(id);
  EXPECT_EQ(all["tokens"], Json(kept()));
  const Json answer_text = transcript(id, "?from=2")["text"];
  EXPECT_NE(answer_text.get<std::string>().find(text), std::string::npos);
  EXPECT_EQ(answer_text.get<std::string>().find("thr"), std::string::npos);
  EXPECT_EQ(show(id)["seen_tokens"], std::ssize(kept()));
}

TEST_F(SessionsTest, ForksAndRollbacksAreExactOrRefused) {
  start();
  const std::string id = open({{"prompt", {5, 6}}});
  const std::string early = answer(path(id, "fork"), Json::object())["id"];
  EXPECT_EQ(show(early)["seen_tokens"], 2);
  turn(id, {{"prompt", {7, 8, 9}}, {"max_tokens", 2}});
  const Json copy = answer(path(id, "fork"), {{"at", 4}});
  EXPECT_EQ(copy["seen_tokens"], 4);
  EXPECT_EQ(transcript(copy["id"])["tokens"], Json({5, 6, 7, 8}));
  EXPECT_EQ(show(id)["seen_tokens"], 7);
  turn(copy["id"], {{"prompt", {3}}, {"max_tokens", 1}});
  turn(early, {{"prompt", {4}}, {"max_tokens", 1}});
  EXPECT_EQ(transcript(early, "?to=3")["tokens"], Json({5, 6, 4}));
  EXPECT_EQ(answer(path(id, "rollback"), {{"to", 3}})["seen_tokens"], 3);
  EXPECT_EQ(transcript(id)["tokens"], Json({5, 6, 7}));
  EXPECT_EQ(post_json(path(id, "rollback"), {{"to", 1}}).status, 400) << "into what is pinned";
  EXPECT_EQ(post_json(path(id, "rollback"), {{"to", 4}}).status, 400);
}

TEST_F(SessionsTest, TheTranscriptIsBounded) {
  api_settings.sessions.transcript_tokens = 10;
  start();
  const std::string id = open();
  turn(id, {{"prompt", std::vector<TokenId>(20, 5)}, {"max_tokens", 1}});
  EXPECT_EQ(transcript(id)["from"], 11);
  EXPECT_EQ(transcript(id, "?from=12&to=14")["tokens"], Json({5, 5}));
  const RawResponse gone = ask(get(path(id, "transcript") + "?from=10"));
  EXPECT_EQ(gone.status, 410);
  EXPECT_EQ(error_of(gone)["first_kept"], 11);
  EXPECT_EQ(ask(get(path(id, "transcript") + "?from=x")).status, 400);
}

TEST_F(SessionsTest, OthersDoNotSeeThem) {
  const TemporaryDirectory directory;
  settings.api_key_file = (directory.path() / "keys").string();
  std::ofstream(settings.api_key_file) << "anna\nbert\n";
  api_settings.sessions.max_sessions_per_key = 1;
  start();
  const auto as = [&](const std::string& key, const std::string& method, const std::string& where,
                      const std::string& body = "") {
    std::string request =
        method + " " + where + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-api-key: " + key;
    if (!body.empty()) {
      request += "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size());
    }
    return ask(request + "\r\n\r\n" + body);
  };
  const std::string id = Json::parse(as("anna", "POST", kSessions, "{}").body)["id"];
  EXPECT_EQ(as("anna", "GET", path(id)).status, 200);
  EXPECT_EQ(as("anna", "POST", kSessions, "{}").status, 429) << "one is all that a key may keep";
  EXPECT_EQ(as("anna", "POST", path(id, "fork"), "{}").status, 429);
  EXPECT_EQ(as("bert", "POST", kSessions, "{}").status, 200);
  EXPECT_EQ(as("bert", "GET", path(id)).status, 404);
  EXPECT_EQ(as("bert", "DELETE", path(id)).status, 404);
  EXPECT_EQ(as("bert", "POST", path(id, "fork"), "{}").status, 404);
  EXPECT_EQ(as("bert", "POST", kText, Json({{"session", id}, {"prompt", "x"}}).dump()).status, 404);
  EXPECT_EQ(Json::parse(as("bert", "GET", kSessions).body)["data"].size(), 1u) << "one's own";
}

TEST_F(SessionsTest, ThereAreOnlySoMany) {
  api_settings.sessions.max_sessions = 1;
  start();
  const std::string id = open();
  const RawResponse full = post_json(kSessions, Json::object());
  EXPECT_EQ(full.status, 429);
  EXPECT_NE(full.raw_head.find("Retry-After"), std::string::npos);
  remove(id);
  EXPECT_EQ(post_json(kSessions, Json::object()).status, 200);
}

// Of eight slots half are for others, unless more can be parked.
TEST_F(SessionsTest, ThereAreAsManyAsCanRestByDefault) {
  for (const auto& [places, most] : {std::pair{0, 4}, {3, 4}, {6, 6}}) {
    api_settings.sessions.max_sessions.reset();
    limits.num_places = places;
    start();
    for (int i = 0; i < most; ++i) EXPECT_EQ(post_json(kSessions, Json::object()).status, 200) << i;
    EXPECT_EQ(post_json(kSessions, Json::object()).status, 429) << places;
  }
}

TEST_F(SessionsTest, TheUnusedEnd) {
  start();
  const std::string id = open({{"ttl_seconds", 0.2}});
  turn(id, {{"prompt", {7}}, {"max_tokens", 1}});
  EXPECT_TRUE(eventually([&] { return engine->sessions().empty(); })) << "without anybody asking";
  EXPECT_EQ(ask(get(path(id))).status, 404);
}

// How many log-probabilities an answer can have, which is bounded, goes by what the session has room for.
TEST_F(SessionsTest, ATurnIsBudgetedFromWhereItBegins) {
  limits.session.window = {4, 30000};
  limits.session.ring_capacity = 30128;
  start();
  const std::string id = open();
  turn(id, {{"prompt", std::vector<TokenId>(25000, 5)}, {"max_tokens", 1}});
  Json body = chat("Hi");
  body.update({{"session", id}, {"truncation", "disabled"}, {"max_tokens", 30000}});
  body.update({{"logprobs", true}, {"top_logprobs", 20}});
  EXPECT_EQ(answer(kChat, body)["choices"][0]["finish_reason"], "stop");
  body.erase("session");
  EXPECT_EQ(post_json(kChat, body).status, 400) << "30,000 times 21";
}

// What must not be forgotten is what its own window holds, not the server's.
TEST_F(SessionsTest, NothingIsForgottenWhereThatIsDisabled) {
  start();
  say("word ", true);
  const std::string id = open({{"window_tokens", 10}});  // and 4 sinks
  Json body = {{"session", id}, {"prompt", std::vector<TokenId>(15, 5)}, {"truncation", "disabled"}};
  const RawResponse longer = post_json(kText, body);
  EXPECT_EQ(longer.status, 400);
  EXPECT_EQ(error_of(longer)["n_ctx"], 14);
  body["prompt"] = std::vector<TokenId>(12, 5);
  const Json said = answer(kText, body);
  EXPECT_EQ(said["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(said["usage"]["completion_tokens"], 3);
  EXPECT_EQ(said["usage"]["session"]["evicted_tokens"], 0);
  const std::string pinned = open({{"prompt", std::vector<TokenId>(20, 5)}});  // beside the window of 28
  body["session"] = pinned;
  body["prompt"] = std::vector<TokenId>(20, 5);
  EXPECT_EQ(answer(kText, body)["usage"]["completion_tokens"], 48 - 40 + 1);
}

TEST_F(SessionsTest, InWindowModeNothingCanBePinned) {
  limits.session.window = {0, 28};
  limits.session.sink_capacity = 0;
  start();
  const RawResponse pinned = post_json(kSessions, {{"prompt", {5, 6}}});
  EXPECT_EQ(pinned.status, 400);
  EXPECT_EQ(error_of(pinned)["code"], "prefix_too_long");
  const std::string id = open({{"window_tokens", 20}});
  turn(id, {{"prompt", std::vector<TokenId>(100, 5)}, {"max_tokens", 1}});
  EXPECT_EQ(engine->commands<OpenSession>().back().window, (CacheWindow{0, 20}));
  const Json shown = show(id);
  EXPECT_EQ(shown["pinned_tokens"], 0);
  EXPECT_EQ(shown["resident_tokens"], 20);
  EXPECT_EQ(shown["evicted_tokens"], 80) << "the last token is not taken in yet";
}

TEST_F(SessionsTest, InDenseModeASessionEndsWhenItIsFull) {
  limits.session = {.window = {0, 50}, .max_context = 50, .ring_capacity = 50};
  start();
  say("word ", true);
  EXPECT_EQ(post_json(kSessions, {{"prompt", std::vector<TokenId>(51, 5)}}).status, 400);
  EXPECT_EQ(post_json(kSessions, {{"window_tokens", 20}}).status, 400);
  const std::string id = open({{"prompt", std::vector<TokenId>(10, 5)}});
  EXPECT_EQ(turn(id, {{"prompt", {5, 6}}, {"max_tokens", 8}})["usage"]["completion_tokens"], 8);
  EXPECT_EQ(show(id)["seen_tokens"], 20);
  EXPECT_EQ(answer(path(id, "rollback"), {{"to", 12}})["seen_tokens"], 12);
  const Json rest = turn(id, {{"prompt", {7}}, {"max_tokens", 1000}});
  EXPECT_EQ(rest["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(rest["usage"]["completion_tokens"], 50 - 13 + 1) << "the last is not taken in";
  EXPECT_EQ(show(id)["evicted_tokens"], 0);
  for (const std::string& where : {kText, path(id, "append")}) {
    const RawResponse full = post_json(where, {{"session", id}, {"prompt", {5, 6}}});
    EXPECT_EQ(full.status, 400) << full.body;
    EXPECT_EQ(error_of(full)["code"], "context_length_exceeded");
  }
  EXPECT_EQ(answer(path(id, "rollback"), {{"to", 10}})["seen_tokens"], 10);
  EXPECT_EQ(turn(id, {{"prompt", {5}}, {"max_tokens", 2}})["usage"]["completion_tokens"], 2);
}

TEST_F(SessionsTest, DeletingASessionEndsItsTurn) {
  start();
  say("word ", true);
  const std::string id = open();
  RawClient client(address);
  client.send(post(kText, Json({{"session", id}, {"prompt", "x"}, {"max_tokens", 90000}}).dump()));
  ASSERT_TRUE(eventually([&] { return engine->num_active() == 1; }));
  EXPECT_EQ(remove(id).status, 200);
  const RawResponse response = client.receive();
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(error_of(response)["code"], "session_deleted");
}

}  // namespace
}  // namespace sinkstream::testing
