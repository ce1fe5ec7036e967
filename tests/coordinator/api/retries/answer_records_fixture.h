// The records of answers, with clients and an endpoint that a test plays.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "coordinator/api/retries/answer_records.h"
#include "coordinator/api/retries/recording_exchange.h"
#include "tests/coordinator/api/manual_executor.h"

namespace sinkstream::testing {

// A client's end: what it got.
class Client final : public Exchange {
 public:
  const Request& request() const override { return request_; }
  std::string take_body() override { return {}; }
  void add_header(Header header) override { headers += header.name + ";"; }
  void respond(Response response) override {
    status = response.status;
    body = response.body;
    end();
  }
  void start_stream() override { status = 200; }
  void send(std::string_view events) override { body += events; }
  void finish_stream() override {
    is_whole = true;
    end();
  }
  void fail(const RequestError& error) override {
    if (status == 0) status = error.status;
    code = error.code;
    for (const Header& header : error.headers) {
      if (header.name == "Retry-After") retry_after = header.value;
    }
    end();
  }
  void note_tokens(const TokenCounts&) override {}
  void on_abandoned(std::function<void(AbandonCause)> callback) override { abandoned_ = std::move(callback); }
  bool backlogged() const override { return is_behind; }
  void on_room(std::function<void()> callback) override { room_ = std::move(callback); }

  void leave(AbandonCause cause = AbandonCause::client_left) {
    const auto callback = std::exchange(abandoned_, nullptr);
    room_ = nullptr;
    if (callback) callback(cause);
  }
  void catch_up() {
    is_behind = false;
    const auto callback = room_;
    if (callback) callback();
  }

  int status = 0;
  std::string headers, body, code, retry_after;
  bool is_whole = false;
  bool is_behind = false;

 private:
  void end() {
    abandoned_ = nullptr;
    room_ = nullptr;
  }
  const Request request_;
  std::function<void(AbandonCause)> abandoned_;
  std::function<void()> room_;
};

class AnswerRecordsTest : public ::testing::Test {
 protected:
  AnswerRecordsTest() { make({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = 1 << 20}); }
  void make(const RecordSettings& settings) { records = std::make_shared<AnswerRecords>(executor, settings); }

  static Asked keyed(const std::string& key, const std::string& words = "words") {
    return {.changes_sessions = true, .fingerprint = words, .key = key, .session = "s"};
  }
  static Asked turn(const std::string& words) {
    return {.changes_sessions = true, .fingerprint = words, .session = "s", .expects_seen = true};
  }
  // Asks, and leaves the answer to the test: `endpoint` is null for a retry.
  std::shared_ptr<Client> ask(const Asked& asked) {
    endpoint = nullptr;
    abandoned = 0;
    const auto client = std::make_shared<Client>();
    records->answer(asked, client, [this](const std::shared_ptr<Exchange>& exchange) {
      endpoint = exchange;
      endpoint->on_abandoned([this](AbandonCause) { ++abandoned; });
    });
    executor->run_all();
    return client;
  }
  void respond(const std::string& body) {
    endpoint->respond({200, "application/json", body});
    done();
  }
  void done() {
    executor->run_all();
    endpoint = nullptr;
    executor->run_all();
  }
  void send(const std::string& events) { send_on(endpoint, events); }
  void send_on(const std::shared_ptr<Exchange>& exchange, const std::string& events) {
    exchange->send(events);
    executor->run_all();
  }

  const std::shared_ptr<ManualExecutor> executor = std::make_shared<ManualExecutor>();
  std::shared_ptr<AnswerRecords> records;
  std::shared_ptr<Exchange> endpoint;
  int abandoned = 0;
};

}  // namespace sinkstream::testing
