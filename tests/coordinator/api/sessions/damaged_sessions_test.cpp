// Sessions on disk whose rows there are damaged.
#include <string>
#include <vector>

#include "coordinator/store/database.h"
#include "tests/coordinator/api/sessions/durable_sessions_fixture.h"

namespace sinkstream::testing {
namespace {

class DamagedSessionsTest : public DurableSessionsTest {
 protected:
  // The server ends, this happens to its database, and it starts anew.
  void restart_after(const std::string& sql) {
    end();
    Database(api_settings.sessions.directory / "sessions.db").execute(sql.c_str());
    start();
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
  EXPECT_TRUE(eventually([&] { return show(id)["status"] == "idle"; }));
  EXPECT_EQ(show(id)["seen_tokens"], 9000);
  EXPECT_EQ(go_on(id, 9000).status, 200);
}

}  // namespace
}  // namespace sinkstream::testing
