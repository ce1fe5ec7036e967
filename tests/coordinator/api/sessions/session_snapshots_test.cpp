// When the coordinator has the engine save a session, and by which name it is taken up again.
#include <optional>

#include "tests/coordinator/api/sessions/sessions_fixture.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

class SessionSnapshotsTest : public SessionsTest {
 protected:
  SessionSnapshotsTest() {
    api_settings.sessions.directory = directory.path() / "sessions";
    api_settings.sessions.snapshot_tokens = 100;
    limits.has_snapshots = true;
    limits.session.num_layers = 1000;  // making a session anew takes all its tokens in
  }
  void restart() {
    coordinator->stop();
    coordinator.reset();
    start();
  }
  void give(const std::string& id, std::size_t tokens) const {
    answer(path(id, "append"), {{"prompt", std::vector<TokenId>(tokens, 5)}});
  }
  std::vector<SaveSession> saves() const { return engine->commands<SaveSession>(); }
  // The names by which it was opened last.
  std::vector<SnapshotName> opened_with() const { return engine->commands<OpenSession>().back().snapshots; }

  TemporaryDirectory directory;
};

TEST_F(SessionSnapshotsTest, AreTakenEverySoManyTokens) {
  start();
  const std::string id = open();
  give(id, 99);
  EXPECT_TRUE(saves().empty());
  give(id, 1);
  ASSERT_EQ(saves().size(), 1u);
  EXPECT_EQ(saves()[0].tokens, 100);
  give(id, 99);
  EXPECT_EQ(saves().size(), 1u);
  give(id, 150);
  ASSERT_EQ(saves().size(), 2u);
  EXPECT_EQ(saves()[1].tokens, 349);
  EXPECT_EQ(saves()[1].name.session, saves()[0].name.session);
  EXPECT_NE(saves()[1].name.save, saves()[0].name.save);
}

// A prompt token takes 10 ms, saving 2 ms, then 60.
TEST_F(SessionSnapshotsTest, AreTakenWhenMakingAnewWouldTakeTooLong) {
  start();
  const std::string id = open();
  EngineStats stats{.seconds_per_prompt_token = 0.01};
  engine->set_stats(stats);
  api_settings.sessions.snapshot_tokens = 100'000;
  api_settings.sessions.snapshot_seconds = 0.5;
  restart();
  engine->set_stats(stats);
  give(id, 49);
  EXPECT_TRUE(saves().empty());
  give(id, 1);
  ASSERT_EQ(saves().size(), 1u);
  stats.snapshots_saved = 3;
  stats.snapshot_save_seconds = 0.006;
  engine->set_stats(stats);
  give(id, 50);
  ASSERT_EQ(saves().size(), 2u);
  stats.snapshot_save_seconds = 0.18;
  engine->set_stats(stats);
  give(id, 290);  // 50 times as long as saving takes 300
  ASSERT_EQ(saves().size(), 2u);
  give(id, 10);
  EXPECT_EQ(saves().size(), 3u);
}

TEST_F(SessionSnapshotsTest, AreNotTakenWhereMakingAnewCostsLess) {
  limits.session.num_layers = 1;  // some window's worth of tokens
  api_settings.sessions.snapshot_tokens = 100'000;
  start();
  const std::string id = open();
  give(id, 3000);
  EXPECT_TRUE(saves().empty());
}

TEST_F(SessionSnapshotsTest, AreNotTakenWithoutADirectoryOrRoom) {
  limits.has_snapshots = false;
  start();
  give(open(), 500);
  EXPECT_TRUE(saves().empty());
  EXPECT_TRUE(opened_with().empty());
}

TEST_F(SessionSnapshotsTest, ThatCameAtABadMomentAreTakenWithTheNextTurn) {
  start();
  const std::string id = open();
  give(id, 50);
  engine->refuse_saves(RefusalReason::session_busy);
  give(id, 100);
  ASSERT_EQ(saves().size(), 1u);
  engine->refuse_saves(std::nullopt);
  ASSERT_TRUE(eventually([&] {  // the first after the refusal has come
    give(id, 1);
    return saves().size() == 2;
  }));
  give(id, 1);
  EXPECT_EQ(saves().size(), 2u);
}

// A disk that is full is not written to with every turn.
TEST_F(SessionSnapshotsTest, ThatFailedAreTakenAfterAsManyTokensAgain) {
  start();
  const std::string id = open();
  engine->refuse_saves(RefusalReason::failed);
  give(id, 100);
  ASSERT_EQ(saves().size(), 1u);
  give(id, 99);
  EXPECT_EQ(saves().size(), 1u);
  give(id, 1);
  EXPECT_EQ(saves().size(), 2u);
}

// Behind what was saved other tokens come: what was saved is none of the session's any more.
TEST_F(SessionSnapshotsTest, AreForgottenWhenTheSessionGoesBackBehindThem) {
  start();
  const std::string id = open();
  give(id, 200);
  const SnapshotName first = saves().back().name;
  give(id, 150);
  const SnapshotName second = saves().back().name;
  restart();
  give(id, 1);
  EXPECT_EQ(opened_with(), (std::vector{second, first}));
  answer(path(id, "rollback"), {{"to", 350}});  // to what was saved
  restart();
  give(id, 1);
  EXPECT_EQ(opened_with(), (std::vector{second, first}));
  answer(path(id, "rollback"), {{"to", 349}});
  restart();
  give(id, 1);
  EXPECT_EQ(opened_with(), std::vector{first});
}

// What was refused changes nothing.
TEST_F(SessionSnapshotsTest, AreKnownAfterARestartHoweverOftenOneLooks) {
  start();
  const std::string id = open();
  give(id, 200);
  const SnapshotName saved = saves().back().name;
  restart();
  EXPECT_EQ(ask(post(path(id, "append"), Json{{"prompt", {5}}, {"expected_seen", 7}}.dump())).status, 409);
  answer(path(id, "fork"), Json::object());
  give(id, 10);
  EXPECT_EQ(opened_with(), std::vector{saved});
}

TEST_F(SessionSnapshotsTest, ThatWereOfNoUseAreTakenAnew) {
  start();
  const std::string id = open();
  give(id, 200);
  ASSERT_EQ(saves().size(), 1u);
  engine->replay(100);  // as where a file is gone
  give(id, 1);
  EXPECT_EQ(saves().size(), 2u);
  engine->replay(0);
  give(id, 1);
  EXPECT_EQ(saves().size(), 2u);
}

TEST_F(SessionSnapshotsTest, AreOfOneSession) {
  start();
  const std::string one = open(), other = open();
  for (const std::string& id : {one, other}) give(id, 200);
  const std::string fork = answer(path(one, "fork"), Json::object())["id"];
  give(fork, 200);
  ASSERT_EQ(saves().size(), 3u);
  EXPECT_NE(saves()[0].name.session, saves()[1].name.session);
  EXPECT_NE(saves()[2].name.session, saves()[0].name.session);
  EXPECT_TRUE(opened_with().empty()) << "a fork has none yet";
}

TEST_F(SessionSnapshotsTest, GoWithTheirSessions) {
  start();
  const std::string one = open(), other = open();
  for (const std::string& id : {one, other}) give(id, 200);
  remove(one);
  ask(get(kSessions));
  const auto dropped = engine->commands<DropSnapshot>();
  ASSERT_EQ(dropped.size(), 1u);
  EXPECT_EQ(dropped[0].session, saves()[0].name.session);
  restart();
  ask(get(kSessions));
  const auto kept = engine->commands<KeepSnapshots>();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].sessions.size(), 1u);
}

}  // namespace
}  // namespace sinkstream::testing
