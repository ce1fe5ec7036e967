// What an endpoint answers when its answer is recorded.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "coordinator/api/retries/recorded_answer.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/executor.h"

namespace sinkstream {

// Any thread, as every exchange. Its client may leave and come again as a retry.
class RecordingExchange : public Exchange {
 public:
  // `request`: the first attempt's, without its body.
  RecordingExchange(Request request, std::shared_ptr<RecordedAnswer> answer,
                    std::shared_ptr<Executor> executor)
      : request_(std::move(request)), answer_(std::move(answer)), executor_(std::move(executor)) {}
  ~RecordingExchange() override;
  RecordingExchange(const RecordingExchange&) = delete;
  RecordingExchange& operator=(const RecordingExchange&) = delete;

  const Request& request() const override { return request_; }
  std::string take_body() override { return {}; }
  void add_header(Header header) override;
  void respond(Response response) override;
  void start_stream() override;
  void send(std::string_view events) override;
  void finish_stream() override;
  void fail(const RequestError& error) override;
  void note_tokens(const TokenCounts& tokens) override;
  void on_abandoned(std::function<void(AbandonCause)> callback) override;
  bool backlogged() const override { return answer_->is_held_back(); }
  void on_room(std::function<void()> callback) override;

 private:
  template <typename Action>
  void post(Action action) const {
    executor_->post([answer = answer_, action = std::move(action)]() mutable { action(*answer); });
  }

  const Request request_;
  const std::shared_ptr<RecordedAnswer> answer_;
  const std::shared_ptr<Executor> executor_;
};

}  // namespace sinkstream
