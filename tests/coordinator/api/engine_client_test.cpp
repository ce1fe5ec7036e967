#include "coordinator/api/engine_client.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/coordinator/api/manual_executor.h"
#include "tests/coordinator/api/recording_engine.h"
#include "tests/patience.h"

namespace sinkstream {
namespace {

class EngineClientTest : public ::testing::Test {
 protected:
  // Of one prompt with n choices; `got` counts its events.
  RequestId ask(std::int32_t n, int& got) {
    Generate command;
    command.prompts = {{1, 2, 3}};
    command.n = n;
    return client->generate(std::move(command), [&got, held = held](Event) { ++got; });
  }
  void tell(Event event) { engine.sink->on_event(std::move(event)); }
  long num_handlers() const { return held.use_count() - 1; }

  testing::RecordingEngine engine;
  std::shared_ptr<testing::ManualExecutor> executor = std::make_shared<testing::ManualExecutor>();
  std::optional<EngineClient> client{std::in_place, engine, executor};
  std::shared_ptr<int> held = std::make_shared<int>();
};

TEST_F(EngineClientTest, ManyEventsAreOneTask) {
  int got = 0;
  const RequestId request = ask(1, got);
  tell(Accepted{request});
  for (int i = 0; i < 100; ++i) tell(TokenEvent{.request = request});
  EXPECT_EQ(executor->num_tasks(), 1u);
  EXPECT_EQ(got, 0);
  executor->run();
  EXPECT_EQ(got, 101);
  tell(TokenEvent{.request = request});
  tell(TokenEvent{.request = request});
  EXPECT_EQ(executor->num_tasks(), 1u);
  executor->run();
  EXPECT_EQ(got, 103);
}

TEST_F(EngineClientTest, EventsGoToTheirRequestsAndHandlersWithTheLast) {
  int first = 0, second = 0, third = 0;
  const RequestId a = ask(2, first);
  const RequestId b = ask(1, second);
  const RequestId c = ask(1, third);
  EXPECT_EQ(engine.commands.size(), 3u);
  EXPECT_TRUE(a != b && b != c && a != c && a != 0 && b != 0 && c != 0);
  tell(Accepted{a});
  tell(TurnEnded{.request = a});
  tell(Refused{.request = b});
  executor->run();
  EXPECT_EQ(num_handlers(), 2);
  tell(TurnEnded{.request = a, .choice = 1});
  tell(TurnEnded{.request = c});
  // Of requests that are over, or never were.
  tell(TokenEvent{.request = a});
  tell(TurnEnded{.request = a});
  tell(Accepted{b});
  tell(SessionChanged{.request = 0});
  tell(TokenEvent{.request = 1'000'000});
  executor->run();
  EXPECT_EQ(first, 3);
  EXPECT_EQ(second, 1);
  EXPECT_EQ(third, 1);
  EXPECT_EQ(num_handlers(), 0);
}

TEST_F(EngineClientTest, AHandlerMayAskForMore) {
  int got = 0;
  std::vector<RequestId> requests;
  Generate command;
  command.prompts = {{1}};
  requests.push_back(client->generate(command, [&](Event) {
    for (int i = 0; i < 100; ++i) requests.push_back(ask(1, got));
  }));
  tell(TurnEnded{.request = requests[0]});
  executor->run();
  ASSERT_EQ(requests.size(), 101u);
  for (std::size_t i = 1; i < requests.size(); ++i) tell(TurnEnded{.request = requests[i]});
  executor->run();
  EXPECT_EQ(got, 100);
  EXPECT_EQ(num_handlers(), 0);
}

TEST_F(EngineClientTest, ClosingCancelsWhatRunsAndDropsWhatComes) {
  int over = 0, running = 0;
  const RequestId first = ask(1, over);
  tell(TurnEnded{.request = first});
  executor->run();
  const RequestId request = ask(3, running);
  tell(Accepted{request});
  ASSERT_EQ(executor->num_tasks(), 1u);  // and nobody runs it any more
  engine.commands.clear();
  client->close();
  EXPECT_EQ(num_handlers(), 0);
  ASSERT_EQ(engine.commands.size(), 1u);
  EXPECT_EQ(std::get<Cancel>(engine.commands[0]).request, request);

  tell(TurnEnded{.request = request, .reason = FinishReason::cancelled});
  client.reset();  // closes again
  tell(TurnEnded{.request = request, .choice = 1});
  EXPECT_EQ(engine.commands.size(), 1u);
  EXPECT_EQ(executor->num_tasks(), 1u);
  executor->run();
  EXPECT_EQ(running, 0);
  tell(TurnEnded{.request = request, .choice = 2});
  EXPECT_EQ(executor->num_tasks(), 0u) << "nothing piles up that nobody will take";
}

TEST_F(EngineClientTest, EventsFromAnotherThreadKeepTheirOrder) {
  constexpr std::int64_t kEvents = 20'000;
  std::vector<std::int64_t> positions;
  Generate command;
  command.prompts = {{1}};
  const RequestId request = client->generate(command, [&](Event event) {
    if (const auto* token = std::get_if<TokenEvent>(&event)) positions.push_back(token->position);
  });
  std::thread teller([&] {
    for (std::int64_t i = 0; i < kEvents; ++i) tell(TokenEvent{.request = request, .position = i});
  });
  EXPECT_TRUE(eventually([&] {
    executor->run();
    return std::ssize(positions) == kEvents;
  }));
  teller.join();
  EXPECT_TRUE(std::ranges::is_sorted(positions));
}

}  // namespace
}  // namespace sinkstream
