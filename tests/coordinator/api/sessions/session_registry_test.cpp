// Sessions that are not used end at their time; time passes when the test says so.
#include "coordinator/api/sessions/session_registry.h"

#include <gtest/gtest.h>

#include <variant>

#include "coordinator/api/journal/journal.h"
#include "coordinator/api/sessions/session_turn.h"
#include "coordinator/http/message/request_error.h"
#include "tests/coordinator/api/manual_executor.h"
#include "tests/coordinator/api/recording_engine.h"
#include "tests/coordinator/api/sessions/no_room.h"
#include "tests/patience.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class SessionRegistryTest : public ::testing::Test {
 protected:
  std::string add(double ttl_seconds) const {
    SessionContents contents{.transcript = Transcript(10)};
    const auto session = registry->add({.ttl_seconds = ttl_seconds}, std::move(contents));
    registry->in_engine().name(*session);
    session->end_turn(registry->now());
    return session->facts().id;
  }
  bool is_there(const std::string& id) const {
    try {
      registry->find(id, {});
      return true;
    } catch (const RequestError& error) {
      EXPECT_EQ(error.status, 404);
      return false;
    }
  }
  std::vector<SessionId> closed() const {
    std::vector<SessionId> ids;
    for (const Command& command : engine.commands) {
      if (const auto* close = std::get_if<CloseSession>(&command)) ids.push_back(close->session);
    }
    return ids;
  }

  RecordingEngine engine;
  const std::shared_ptr<ManualExecutor> executor = std::make_shared<ManualExecutor>();
  EngineClient client{engine, executor};
  std::shared_ptr<SessionRegistry> registry = std::make_shared<SessionRegistry>(
      client, executor, SessionSettings{.max_sessions = 4}, /*has_keys=*/false);
};

TEST_F(SessionRegistryTest, TheUnusedEndWithoutAnybodyAsking) {
  add(20);
  add(10);
  add(30);
  executor->pass(seconds(9));
  EXPECT_EQ(registry->size(), 3u);
  executor->pass(seconds(1));
  EXPECT_EQ(registry->size(), 2u);
  EXPECT_EQ(closed(), (std::vector<SessionId>{2})) << "in the engine too";
  executor->pass(seconds(10));
  executor->pass(seconds(10));
  EXPECT_EQ(registry->size(), 0u);
  EXPECT_EQ(closed(), (std::vector<SessionId>{2, 1, 3}));
  executor->pass(seconds(1000));
  EXPECT_EQ(executor->num_timers(), 0u) << "nothing wakes up for nothing";
}

TEST_F(SessionRegistryTest, ATurnIsUse) {
  const std::string id = add(10);
  executor->pass(seconds(9));
  const auto turn = registry->begin_turn(id, {});
  executor->pass(seconds(1000));
  EXPECT_TRUE(is_there(id));
  turn->release();
  executor->pass(seconds(9));
  EXPECT_EQ(registry->size(), 1u);
  executor->pass(seconds(11));
  EXPECT_EQ(registry->size(), 0u);
}

TEST_F(SessionRegistryTest, OneThatIsBeingMadeStays) {
  const auto session = registry->add({.ttl_seconds = 1}, SessionContents{.transcript = Transcript(10)});
  executor->pass(seconds(10));
  EXPECT_EQ(registry->size(), 1u);
  session->end_turn(registry->now());
  executor->pass(seconds(2));
  EXPECT_EQ(registry->size(), 0u);
}

// A timer may be late, and looks at all sessions no oftener than it must.
TEST_F(SessionRegistryTest, WhatHasEndedIsNotFound) {
  const std::string first = add(10);
  executor->pass(milliseconds(10));
  const std::string second = add(10);
  executor->pass(milliseconds(9990));
  EXPECT_FALSE(is_there(first));
  EXPECT_TRUE(is_there(second));
  EXPECT_EQ(registry->list({}).size(), 1u);
  executor->pass(milliseconds(10));
  EXPECT_FALSE(is_there(second));
  EXPECT_EQ(registry->list({}).size(), 0u);
}

TEST_F(SessionRegistryTest, TheEndedMakeRoom) {
  for (int i = 0; i < 4; ++i) add(0.05);
  EXPECT_THROW(add(1), RequestError);
  executor->pass(milliseconds(50));
  add(1);
  EXPECT_EQ(registry->size(), 1u);
}

// On disk they are removed when that works again, and nobody sees them meanwhile.
TEST_F(SessionRegistryTest, TheEndedThatCantBeRemovedAreTriedAgain) {
  const TemporaryDirectory directory;
  Journal journal({.store = {.directory = directory.path(), .model = "abc", .model_name = "model"}});
  journal.start(executor);
  registry =
      std::make_shared<SessionRegistry>(client, executor, SessionSettings{.directory = directory.path()},
                                        /*has_keys=*/false, &journal);
  registry->take_up(0);
  const std::string id = add(1);
  const auto on_disk = [&] { return journal.read([](SessionStore& store) { return store.list().size(); }); };
  EXPECT_EQ(on_disk(), 1u);
  {
    const NoRoom full;
    executor->pass(seconds(1));
    EXPECT_EQ(registry->size(), 0u);
    ASSERT_TRUE(eventually([&] {
      executor->run_all();
      return registry->size() == 1;
    }));
  }
  executor->pass(seconds(9));
  EXPECT_EQ(on_disk(), 1u);
  EXPECT_EQ(registry->list({}).size(), 0u);
  EXPECT_FALSE(is_there(id));
  executor->pass(seconds(1));
  EXPECT_EQ(registry->size(), 0u);
  EXPECT_EQ(on_disk(), 0u);
}

}  // namespace
}  // namespace sinkstream::testing
