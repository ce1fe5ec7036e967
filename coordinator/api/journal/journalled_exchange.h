// An answer about a session: nothing of it goes out before what it tells is in the journal.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "coordinator/api/journal/journal.h"
#include "coordinator/http/exchange.h"

namespace sinkstream {

// `session`: whose changes it waits for. Where they can't be written it fails, and the endpoint hears that
// nobody reads any more.
class JournalledExchange : public Exchange {
 public:
  // Which of the session's changes it fails with: whatever can't be written until it ends, or only those that
  // its answer comes after, as that of a removal, which what failed before is nothing to.
  enum class FailsWith { any, those_before };

  JournalledExchange(std::shared_ptr<Exchange> exchange, Journal& journal, std::string session,
                     FailsWith fails_with = FailsWith::any);
  ~JournalledExchange() override;
  JournalledExchange(const JournalledExchange&) = delete;
  JournalledExchange& operator=(const JournalledExchange&) = delete;

  const Request& request() const override;
  std::string take_body() override;
  void add_header(Header header) override;
  void respond(Response response) override;
  void start_stream() override;
  void send(std::string_view events) override;
  void finish_stream() override;
  void fail(const RequestError& error) override;
  void note_tokens(const TokenCounts& tokens) override;
  void on_abandoned(std::function<void(AbandonCause)> callback) override;
  bool backlogged() const override;
  void on_room(std::function<void()> callback) override;

 private:
  struct State;
  void when_written(std::function<void(Exchange&)> action) const;

  const std::shared_ptr<State> state_;
};

}  // namespace sinkstream
