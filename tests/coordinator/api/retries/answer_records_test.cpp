// What is kept for retries, for how long, and in how much memory; time passes when the test says so.
#include <string>

#include "tests/coordinator/api/retries/answer_records_fixture.h"

namespace sinkstream::testing {
namespace {

using std::chrono::seconds;

TEST_F(AnswerRecordsTest, AreKeptForTheirTime) {
  ask(keyed("a"));
  executor->pass(seconds(1000));  // an answer's time begins with its end
  respond("one");
  executor->pass(seconds(50));
  ask(turn("words"));
  respond("two");
  EXPECT_EQ(records->size(), 2u);
  executor->pass(seconds(49));
  EXPECT_EQ(ask(keyed("a"))->body, "one");
  executor->pass(seconds(1));
  EXPECT_EQ(records->size(), 1u) << "without anybody asking";
  EXPECT_EQ(ask(turn("words"))->body, "two");
  executor->pass(seconds(50));
  EXPECT_EQ(records->size(), 0u);
  EXPECT_EQ(records->bytes(), 0);
  EXPECT_EQ(executor->num_timers(), 0u);
  ask(keyed("a"));
  EXPECT_NE(endpoint, nullptr) << "it is new";
}

TEST_F(AnswerRecordsTest, ALeftTurnWaitsForItsTime) {
  auto client = ask(keyed("a"));
  endpoint->start_stream();
  send("1");
  EXPECT_FALSE(endpoint->backlogged());
  client->leave();
  EXPECT_TRUE(endpoint->backlogged());
  executor->pass(seconds(9));
  EXPECT_EQ(abandoned, 0);
  auto held = endpoint;
  client = ask(keyed("a"));
  EXPECT_EQ(endpoint, nullptr);
  endpoint = std::move(held);
  EXPECT_FALSE(endpoint->backlogged());
  executor->pass(seconds(9));
  EXPECT_EQ(abandoned, 0) << "it has come back";
  client->leave();
  executor->pass(seconds(9));
  EXPECT_EQ(abandoned, 0);
  executor->pass(seconds(1));
  EXPECT_EQ(abandoned, 1);
  send("2");
  done();
  EXPECT_EQ(ask(keyed("a"))->code, "turn_ended_early");
  ask(turn("words"));
  EXPECT_NE(endpoint, nullptr) << "the session says that it is stale";
}

TEST_F(AnswerRecordsTest, ALeftTurnMayEndWhole) {
  const auto client = ask(turn("words"));
  client->leave();
  respond("whole");
  EXPECT_EQ(ask(turn("words"))->body, "whole");
  EXPECT_EQ(endpoint, nullptr);
}

TEST_F(AnswerRecordsTest, AnotherRequestOfTheSessionWaitsForTheEndOfALeftTurn) {
  ask(keyed("a"))->leave();
  auto left = endpoint;
  Asked other = keyed("b");
  other.owner = "somebody else";
  const auto stranger = ask(other);
  EXPECT_NE(endpoint, nullptr);
  respond("not found, say");
  EXPECT_EQ(stranger->body, "not found, say");
  endpoint = left;
  EXPECT_EQ(abandoned, 0) << "nobody else ends it";

  const auto next = std::make_shared<Client>();
  int began = 0;
  records->answer(keyed("c"), next, [&](const std::shared_ptr<Exchange>& exchange) {
    ++began;
    exchange->respond({200, "", "next"});
  });
  executor->run_all();
  EXPECT_EQ(abandoned, 1);
  EXPECT_EQ(began, 0) << "the session is not free yet";
  left.reset();
  done();
  EXPECT_EQ(began, 1);
  EXPECT_EQ(next->body, "next");
}

TEST_F(AnswerRecordsTest, ARetryOfWhatIsBeingEndedWaitsForItsEnd) {
  Asked first{.changes_sessions = true, .fingerprint = "words", .session = "s", .retry_count = 0};
  const auto client = ask(first);
  auto streaming = endpoint;
  streaming->start_stream();
  send_on(streaming, "1");
  client->leave();
  EXPECT_EQ(abandoned, 1) << "a stream that is left without a key ends";
  Asked again = first;
  again.retry_count = 1;
  const auto retry = ask(again);
  EXPECT_EQ(retry->status, 0);
  streaming.reset();
  done();
  EXPECT_EQ(retry->code, "turn_ended_early");
  EXPECT_EQ(ask(again)->code, "turn_ended_early");
  ask(first);
  EXPECT_NE(endpoint, nullptr) << "the same words once more";
  respond("had");
  ask(again);
  EXPECT_NE(endpoint, nullptr) << "whoever had the answer does not ask for it";
}

TEST_F(AnswerRecordsTest, FailuresAreForgotten) {
  for (const int status : {400, 404, 409, 429, 500, 503}) {
    const auto client = ask(keyed("a"));
    ASSERT_NE(endpoint, nullptr);
    const auto joined = std::make_shared<Client>();
    records->answer(keyed("a"), joined, nullptr);
    endpoint->fail({status, "", "", ""});
    done();
    EXPECT_EQ(client->status, status);
    EXPECT_EQ(joined->status, status);
    EXPECT_EQ(records->size(), 0u);
  }
  const auto torn = ask(keyed("a"));
  endpoint->start_stream();
  send("1");
  endpoint->fail({500, "", "broken", ""});
  done();
  EXPECT_EQ(torn->code, "broken");
  EXPECT_FALSE(torn->is_whole);
  const auto dropped = ask(keyed("a"));
  endpoint = nullptr;
  executor->run_all();
  EXPECT_EQ(dropped->status, 500);
  EXPECT_EQ(records->size(), 0u);
  EXPECT_EQ(records->bytes(), 0);
}

TEST_F(AnswerRecordsTest, WhatIsRefusedAfterItsClientLeftIsForgottenToo) {
  ask(keyed("a"))->leave();
  executor->pass(seconds(10));
  EXPECT_EQ(abandoned, 1);
  endpoint->fail({429, "", "", ""});
  done();
  EXPECT_EQ(records->size(), 0u);
}

TEST_F(AnswerRecordsTest, EachReaderGetsAStreamAtItsOwnPace) {
  const auto quick = ask(keyed("a"));
  auto streaming = endpoint;
  streaming->start_stream();
  send_on(streaming, "1");
  const auto slow = std::make_shared<Client>();
  slow->is_behind = true;
  records->answer(keyed("a"), slow, nullptr);
  send_on(streaming, "2");
  EXPECT_EQ(quick->body, "12");
  EXPECT_EQ(slow->body, "");
  EXPECT_FALSE(streaming->backlogged()) << "one keeps up";
  quick->is_behind = true;
  EXPECT_TRUE(streaming->backlogged());
  int rooms = 0;
  streaming->on_room([&] { ++rooms; });
  executor->run_all();
  slow->catch_up();
  EXPECT_EQ(slow->body, "12");
  EXPECT_EQ(rooms, 1);
  slow->is_behind = true;
  streaming->send("3");
  streaming->finish_stream();
  streaming.reset();
  done();
  EXPECT_FALSE(slow->is_whole);
  slow->catch_up();
  EXPECT_EQ(slow->body, "123");
  EXPECT_TRUE(slow->is_whole);
  EXPECT_EQ(slow->headers, "Idempotent-Replayed;");
  quick->catch_up();
  EXPECT_TRUE(quick->is_whole);
  EXPECT_EQ(quick->headers, "");
}

TEST_F(AnswerRecordsTest, TheOldestGoFirst) {
  make({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = 100'000});
  for (int i = 0; i < 10; ++i) {
    executor->pass(seconds(1));
    ask(keyed("key " + std::to_string(i)));
    respond(std::string(20'000, 'x'));
    EXPECT_LE(records->bytes(), 100'000);
  }
  EXPECT_EQ(ask(keyed("key 9"))->status, 200);
  EXPECT_EQ(ask(keyed("key 7"))->status, 200);
  const auto old = ask(keyed("key 0"));
  EXPECT_EQ(old->code, "answer_not_kept") << "but it is not done again";
  EXPECT_EQ(ask(keyed("key 0", "other words"))->code, "idempotency_key_reused");
  EXPECT_EQ(endpoint, nullptr);
  executor->pass(seconds(100));
  EXPECT_EQ(records->size(), 0u);
}

// Whoever has had an answer with its key never has its turn done again, however many came since.
TEST_F(AnswerRecordsTest, NoKeyGoesBeforeItsTime) {
  make({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = 200'000});
  ask(keyed("first"));
  respond("one");
  for (int i = 0; i < 1000; ++i) {
    ask(keyed("key " + std::to_string(i)));
    respond(std::string(1'000, 'x'));
  }
  EXPECT_EQ(ask(keyed("first"))->code, "answer_not_kept");
  EXPECT_EQ(endpoint, nullptr) << "it is not done again";
}

// A key that nobody could know again later is refused. Others come without one.
TEST_F(AnswerRecordsTest, KeysBeyondTheirRoomAreRefused) {
  constexpr std::int64_t kRoom = 2 << 20;
  make({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = kRoom});
  int count = 0;
  auto client = ask(keyed("key 0"));
  for (; endpoint && count < 100'000; client = ask(keyed("key " + std::to_string(++count)))) {
    if (count == 1) executor->pass(seconds(30));
    respond("x");
    ASSERT_LE(records->bytes(), kRoom);
  }
  EXPECT_GT(count, 2000);
  ASSERT_EQ(endpoint, nullptr);
  EXPECT_EQ(client->status, 429);
  EXPECT_EQ(client->retry_after, "70") << "when the first goes";
  EXPECT_EQ(ask(keyed("key 0"))->code, "answer_not_kept");
  ask(turn("a"));
  EXPECT_NE(endpoint, nullptr);
  respond("x");
  EXPECT_LE(records->bytes(), kRoom);
  executor->pass(seconds(100));
  ask(keyed("key " + std::to_string(count)));
  EXPECT_NE(endpoint, nullptr) << "there is room again";
}

// Also where its answer went later than that of one that ended after it.
TEST_F(AnswerRecordsTest, EachIsForgottenAtItsTime) {
  make({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = 45'000});
  ask(keyed("first"));
  respond(std::string(10'000, 'x'));
  executor->pass(seconds(40));
  ask(keyed("left"))->leave();
  executor->pass(seconds(10));
  done();
  for (const char* key : {"third", "fourth", "fifth", "sixth"}) {
    ask(keyed(key));
    respond(std::string(10'000, 'x'));
  }
  EXPECT_EQ(ask(keyed("first"))->code, "answer_not_kept");
  EXPECT_EQ(records->size(), 6u);
  executor->pass(seconds(50));
  EXPECT_EQ(records->size(), 5u);
  EXPECT_EQ(ask(keyed("left"))->code, "turn_ended_early");
}

TEST_F(AnswerRecordsTest, AnAnswerThatIsTooLargeIsGivenAndNotKept) {
  make({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = 100'000});
  ask(turn("small"));
  respond("small");
  const auto client = ask(keyed("a"));
  auto streaming = endpoint;
  streaming->start_stream();
  for (int i = 0; i < 30; ++i) send_on(streaming, std::string(1000, 'x'));
  EXPECT_EQ(client->body.size(), 30'000u);
  EXPECT_LT(records->bytes(), 10'000);
  const auto late = std::make_shared<Client>();
  records->answer(keyed("a"), late, nullptr);
  EXPECT_EQ(late->code, "answer_not_kept");
  endpoint = streaming;
  client->leave();
  executor->run_all();
  EXPECT_EQ(abandoned, 1) << "nobody could come back for it";
}

TEST_F(AnswerRecordsTest, NothingIsKeptWhereNothingMayBe) {
  make({.replay_seconds = 0, .retry_seconds = 0, .max_bytes = 0});
  for (int i = 0; i < 3; ++i) {
    const auto client = ask(keyed("a"));
    ASSERT_NE(endpoint, nullptr);
    respond("x");
    EXPECT_EQ(client->body, "x");
    executor->pass(seconds(0));
    EXPECT_EQ(records->size(), 0u);
  }
}

TEST_F(AnswerRecordsTest, KeysAreKnownWhereNoAnswersMayBeKept) {
  make({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = 0});
  ask(keyed("a"));
  respond("x");
  EXPECT_EQ(ask(keyed("a"))->code, "answer_not_kept");
  EXPECT_EQ(endpoint, nullptr);
}

TEST_F(AnswerRecordsTest, ARollbackForgetsTurnsAndKeepsKeys) {
  ask(turn("a"));
  respond("a");
  ask(keyed("key"));
  respond("b");
  ask(turn("c"));  // its answer is on its way
  records->forget_turns("another");
  EXPECT_EQ(records->size(), 3u);
  records->forget_turns("s");
  EXPECT_EQ(records->size(), 2u);
  respond("c");
  EXPECT_EQ(records->size(), 1u) << "nobody could ask for it";
  EXPECT_EQ(ask(keyed("key"))->body, "b");
}

// It came while the session was in its rollback, and waits for that.
TEST_F(AnswerRecordsTest, ARollbackForgetsNoTurnThatHasNotBegun) {
  std::shared_ptr<Exchange> waiting;
  records->answer(turn("a"), std::make_shared<Client>(),
                  [&](const std::shared_ptr<Exchange>& exchange) { waiting = exchange; });
  executor->run_all();
  records->forget_turns("s");
  waiting->respond({200, "", "a"});
  waiting.reset();
  executor->run_all();
  EXPECT_EQ(ask(turn("a"))->body, "a");
  EXPECT_EQ(endpoint, nullptr) << "it is not done twice";
}

TEST_F(AnswerRecordsTest, TheServersEndEndsWhatIsRecorded) {
  const auto client = ask(keyed("a"));
  client->leave(AbandonCause::server_ended);
  executor->run_all();
  EXPECT_EQ(abandoned, 1);
}

}  // namespace
}  // namespace sinkstream::testing
