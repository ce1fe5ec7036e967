// What is told of a session goes out when it is written, and not at all when it can't be.
#include "coordinator/api/journal/journal.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/durations.h"
#include "coordinator/api/journal/journalled_exchange.h"
#include "tests/coordinator/api/manual_executor.h"
#include "tests/patience.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

// What a client would get.
class ToldExchange : public Exchange {
 public:
  const Request& request() const override { return request_; }
  std::string take_body() override { return {}; }
  void add_header(Header header) override { told.push_back("header " + header.name); }
  void respond(Response response) override { told.push_back("respond " + response.body); }
  void start_stream() override { told.emplace_back("start"); }
  void send(std::string_view events) override { told.push_back("send " + std::string(events.substr(0, 9))); }
  void finish_stream() override { told.emplace_back("finish"); }
  void fail(const RequestError& error) override { told.push_back("fail " + error.code); }
  void note_tokens(const TokenCounts&) override {}
  void on_abandoned(std::function<void(AbandonCause)> callback) override { abandoned = std::move(callback); }
  bool backlogged() const override { return false; }
  void on_room(std::function<void()>) override {}

  std::vector<std::string> told;
  std::function<void(AbandonCause)> abandoned;

 private:
  Request request_;
};

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() {
    journal.start(executor);
    journal.write("a", [](SessionStore& store) { store.put("a", "head", 0); });
  }
  // Until all that was given is written, and what waits for it was told.
  void settle() {
    journal.read([](SessionStore&) { return 0; });
    ASSERT_TRUE(eventually([&] {
      executor->run_all();
      return true;
    }));
    journal.read([](SessionStore&) { return 0; });
    executor->run_all();
  }
  std::vector<TokenId> kept(const std::string& id) {
    return journal.read([id](SessionStore& store) { return store.tokens(id, 0, 1000).tokens; });
  }

  TemporaryDirectory directory;
  const std::shared_ptr<ManualExecutor> executor = std::make_shared<ManualExecutor>();
  Journal journal{{.store = {.directory = directory.path() / "sessions", .model = "m", .model_name = "m"}}};
  const std::shared_ptr<ToldExchange> client = std::make_shared<ToldExchange>();
  const std::function<void(SessionStore&)> fails = [](SessionStore& store) { store.append("nobody", 0, {}); };
};

TEST_F(JournalTest, WhatIsToldIsWritten) {
  const auto exchange = std::make_shared<JournalledExchange>(client, journal, "a");
  journal.append("a", 0, std::vector<TokenId>{1, 2});
  exchange->start_stream();
  exchange->send("data: 12");
  EXPECT_TRUE(client->told.empty());
  settle();
  EXPECT_EQ(client->told, (std::vector<std::string>{"start", "send data: 12"}));
  EXPECT_EQ(kept("a"), (std::vector<TokenId>{1, 2}));
}

TEST_F(JournalTest, TokensAreInOrderWithOtherChanges) {
  for (TokenId token = 0; token < 10; ++token) journal.append("a", token, std::vector<TokenId>{token});
  journal.write("a", [](SessionStore& store) { store.truncate("a", 4); });
  for (TokenId token = 4; token < 8; ++token) journal.append("a", token, std::vector<TokenId>{token + 100});
  EXPECT_EQ(kept("a"), (std::vector<TokenId>{0, 1, 2, 3, 104, 105, 106, 107}));
}

TEST_F(JournalTest, WhatCantBeWrittenIsNotTold) {
  std::vector<std::string> failed;
  journal.on_failure([&](const std::string& session) { failed.push_back(session); });
  journal.write("b", [](SessionStore& store) { store.put("b", "head", 0); });
  const auto exchange = std::make_shared<JournalledExchange>(client, journal, "a");
  const auto other = std::make_shared<ToldExchange>();
  std::vector<AbandonCause> abandoned;
  exchange->on_abandoned([&](AbandonCause cause) { abandoned.push_back(cause); });
  exchange->start_stream();
  journal.write("a", fails);
  exchange->send("data: 12");
  journal.append("a", 0, std::vector<TokenId>{1});
  exchange->finish_stream();
  JournalledExchange(other, journal, "b").respond({200, "text/plain", "yes"});
  settle();
  EXPECT_EQ(client->told, (std::vector<std::string>{"start", "fail journal_failed"}));
  EXPECT_EQ(abandoned.size(), 1u) << "the endpoint hears that nobody reads";
  EXPECT_EQ(other->told, std::vector<std::string>{"respond yes"}) << "others go on";
  EXPECT_EQ(failed, std::vector<std::string>{"a"});
  EXPECT_TRUE(kept("a").empty()) << "nothing of it is written any more";
  journal.mend("a");
  journal.append("a", 0, std::vector<TokenId>{7});
  EXPECT_EQ(kept("a"), std::vector<TokenId>{7});
}

TEST_F(JournalTest, ADiskThatDoesNotKeepUpHoldsBack) {
  const auto exchange = std::make_shared<JournalledExchange>(client, journal, "a");
  int rooms = 0;
  exchange->on_room([&] { ++rooms; });
  exchange->start_stream();
  EXPECT_FALSE(exchange->backlogged());
  for (int i = 0; i < 3; ++i) exchange->send(std::string(100'000, 'x'));
  EXPECT_TRUE(exchange->backlogged());
  settle();
  EXPECT_FALSE(exchange->backlogged());
  EXPECT_EQ(rooms, 1) << "it is asked for more once there is room";
}

// Writing has a fiftieth of the time, and a tenth of a second in advance. No write takes less than 20 us.
TEST_F(JournalTest, WhatComesWithoutEndIsWrittenTogether) {
  const auto begin = std::chrono::steady_clock::now();
  double seconds = 0;
  std::int64_t position = 0;
  for (; seconds < 0.6; seconds = to_seconds(std::chrono::steady_clock::now() - begin)) {
    journal.append("a", position, std::vector<TokenId>{1});
    ++position;
    std::this_thread::yield();
  }
  EXPECT_EQ(journal.read([](SessionStore& store) { return store.end("a"); }), position);
  seconds = to_seconds(std::chrono::steady_clock::now() - begin);
  EXPECT_LT(static_cast<double>(journal.stats().writes), (seconds + 0.1) / 50 / 20e-6 + 3);
}

}  // namespace
}  // namespace sinkstream::testing
