// Sessions on disk whose rows there are damaged.
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/store/database.h"
#include "coordinator/store/session_store.h"
#include "tests/coordinator/api/sessions/durable_sessions_fixture.h"

namespace sinkstream::testing {
namespace {

class DamagedSessionsTest : public DurableSessionsTest {
 protected:
  // The server ends, this happens to its database, and it starts anew.
  void restart_after(const std::string& sql) {
    end();
    Database(database_file()).execute(sql.c_str());
    start();
  }
  std::int64_t number_on_disk(const std::string& query) const {
    return Database(database_file()).number(query.c_str());
  }
  void damage_rows(const std::string& where) {
    restart_after("UPDATE tokens SET tokens = zeroblob(length(tokens)) WHERE " + where);
  }
  void damage_newest_row() { damage_rows("first = (SELECT max(first) FROM tokens)"); }
  // Of two turns the second is damaged. Returns how many tokens are sound.
  std::int64_t lose_a_turn(const std::string& id) {
    turn(id, {{"prompt", {5, 6}}, {"max_tokens", 3}});
    const std::int64_t sound = show(id)["seen_tokens"];
    turn(id, {{"prompt", {7, 8}}, {"max_tokens", 3}});
    damage_newest_row();
    return sound;
  }
  RawResponse go_on(const std::string& id, std::int64_t expected_seen) {
    return post_json(kText,
                     {{"session", id}, {"prompt", {9}}, {"max_tokens", 1}, {"expected_seen", expected_seen}});
  }

 private:
  std::filesystem::path database_file() const { return api_settings.sessions.directory / "sessions.db"; }
};

TEST_F(DamagedSessionsTest, AreCutAndGoOnWhoeverIsRefusedFirst) {
  start();
  const std::string id = open();
  const std::int64_t sound = lose_a_turn(id);
  const RawResponse stale = go_on(id, show(id)["seen_tokens"]);
  EXPECT_EQ(stale.status, 409) << stale.body;
  EXPECT_EQ(error_of(stale)["seen_tokens"], sound);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(show(id)["seen_tokens"], sound);
    EXPECT_EQ(show(id)["cut_at"], sound);
    if (i == 0) restart();
  }
  EXPECT_EQ(post_json(path(id, "fork"), {{"at", 1000}}).status, 400);
  const RawResponse went_on = go_on(id, sound);
  EXPECT_EQ(went_on.status, 200) << went_on.body;
  EXPECT_EQ(tokens_told(id).size(), sound + 2u);
  EXPECT_EQ(newest_past().tokens(), sound);
}

TEST_F(DamagedSessionsTest, AreCutAgainAfterACutThatCouldNotBeWritten) {
  start();
  const std::string id = open();
  const std::int64_t sound = lose_a_turn(id);
  {
    const NoRoom full;
    EXPECT_NE(go_on(id, 0).status, 200);
    EXPECT_TRUE(eventually([&] { return ask(get("/health")).body.find("journal") != std::string::npos; }));
  }
  EXPECT_TRUE(eventually([&] { return go_on(id, sound).status == 200; })) << show(id);
  restart();
  EXPECT_EQ(show(id)["seen_tokens"], sound + 2);
  EXPECT_EQ(show(id)["cut_at"], sound);
}

// What is known of it beside its tokens.
TEST_F(DamagedSessionsTest, WhoseDescriptionIsDamagedCanBeDeleted) {
  settings.api_key_file = directory.write("keys", "first\nsecond\n").string();
  start();
  const auto ask_as = [&](const std::string& key, const std::string& what, const Json& body = {}) {
    RawClient client(address);
    const std::string text = body.is_null() ? "" : body.dump();
    client.send(what + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-api-key: " + key +
                "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(text.size()) +
                "\r\n\r\n" + text);
    return client.receive();
  };
  const auto make = [&] {
    const Json made = Json::parse(ask_as("first", "POST " + kSessions, {{"prompt", {5, 6}}}).body);
    return made["id"].get<std::string>();
  };
  const std::string id = make(), other = make();
  restart_after("UPDATE sessions SET head = zeroblob(length(head)) WHERE id = '" + id + "'");
  const auto expect_damaged = [&](const RawResponse& response) {
    EXPECT_EQ(response.status, 500) << response.body;
    EXPECT_EQ(error_of(response)["code"], "session_damaged");
  };
  expect_damaged(ask_as("first", "GET " + path(id)));
  expect_damaged(ask_as("first", "GET " + path(id, "transcript")));
  expect_damaged(ask_as("first", "POST " + path(id, "fork"), Json::object()));
  expect_damaged(ask_as("first", "POST " + kText, {{"session", id}, {"prompt", {7}}, {"max_tokens", 1}}));
  const Json listed = Json::parse(ask_as("first", "GET " + kSessions).body)["data"];
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0]["id"], other);
  EXPECT_EQ(ask_as("first", "GET " + path(other)).status, 200);
  {
    const NoRoom full;
    EXPECT_EQ(ask_as("first", "DELETE " + path(id)).status, 503);
    expect_damaged(ask_as("first", "GET " + path(id)));
  }
  EXPECT_EQ(ask_as("second", "DELETE " + path(other)).status, 404);
  EXPECT_EQ(ask_as("first", "DELETE " + path(id)).status, 200);
  EXPECT_EQ(ask_as("first", "GET " + path(id)).status, 404);
  end();
  EXPECT_EQ(number_on_disk("SELECT count(*) FROM sessions"), 1);
  EXPECT_EQ(number_on_disk("SELECT count(*) FROM tokens"), 1);
  start();
}

TEST_F(DamagedSessionsTest, WhoseDescriptionIsDamagedEndsAtItsTime) {
  start();
  const std::string unused = open(), used = open(), later_version = open();
  end();
  {
    SessionStore store({.directory = api_settings.sessions.directory, .model = "abc", .model_name = "fake"});
    store.begin();
    store.put(later_version, R"({"version": 1000})", std::time(nullptr));
    store.commit();
  }
  start();
  const std::string day = std::to_string(static_cast<std::int64_t>(api_settings.sessions.ttl_seconds));
  restart_after("UPDATE sessions SET head = '', last_used_at = last_used_at - " + day + " WHERE id = '" +
                unused + "'; UPDATE sessions SET head = '' WHERE id = '" + used + "'");
  EXPECT_EQ(ask(get(path(unused))).status, 404);
  EXPECT_EQ(ask(get(path(used))).status, 500);
  EXPECT_EQ(ask(get(path(later_version))).status, 500);
  EXPECT_EQ(remove(later_version).status, 200);
  end();
  EXPECT_EQ(number_on_disk("SELECT count(*) FROM sessions"), 1);
  start();
}

// What is left of its transcript is not all that it has.
TEST_F(DamagedSessionsTest, OldDamageIsNotTheEndOfWhatCouldNotBeWritten) {
  start();
  const std::string id = open();
  for (int i = 0; i < 3; ++i) answer(path(id, "append"), {{"prompt", std::vector<TokenId>(3000, 5)}});
  damage_rows("first = 3000");
  {
    const NoRoom full;
    EXPECT_EQ(go_on(id, 9000).status, 503);
  }
  EXPECT_TRUE(is_idle_again(id));
  EXPECT_EQ(show(id)["seen_tokens"], 9000);
  EXPECT_EQ(go_on(id, 9000).status, 200);
}

// It is no more damaged than the session that it comes from.
TEST_F(DamagedSessionsTest, AForkLeavesOutOldDamage) {
  start();
  const std::string id = open();
  for (int i = 0; i < 3; ++i) answer(path(id, "append"), {{"prompt", std::vector<TokenId>(3000, 5)}});
  damage_rows("first = 3000");
  const std::string copy = answer(path(id, "fork"), Json::object())["id"];
  for (int i = 0; i < 2; ++i) {
    for (const std::string& session : {id, copy}) {
      EXPECT_EQ(go_on(session, 9000 + 2 * i).status, 200);
      EXPECT_EQ(show(session)["cut_at"], Json());
      const RawResponse old = ask(get(path(session, "transcript")));
      EXPECT_EQ(old.status, 410) << old.body;
      EXPECT_EQ(error_of(old)["damaged_from"], 3000);
      EXPECT_EQ(transcript(session, "?from=100&to=3000")["tokens"].size(), 2900u);
      EXPECT_EQ(transcript(session, "?from=6000")["tokens"].size(), 3002u + 2 * i);
    }
    restart();
  }
}

}  // namespace
}  // namespace sinkstream::testing
