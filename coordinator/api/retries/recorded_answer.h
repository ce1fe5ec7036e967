// The answer to one request, recorded while it is made, so that retries of the request get it too: all of it,
// byte for byte, whenever they come.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/exchange.h"

namespace sinkstream {

// The I/O thread only. It is made by an endpoint (RecordingExchange) and read by the request's own client and
// by its retries. While nobody reads, the endpoint is held back as by a reader that does not keep up.
class RecordedAnswer : public std::enable_shared_from_this<RecordedAnswer> {
 public:
  enum class State {
    running,
    whole,        // a success that was answered to the end
    failed,       // with an error, perhaps in the middle
    ended_early,  // nobody wanted it any more, or it failed and what was done until then stays
  };

  // What the records of all answers hear of this one.
  enum class Change {
    grown,
    unread,  // its last reader has left, and it is still running
    ended,
  };
  void listen(std::function<void(Change)> listener) { listener_ = std::move(listener); }

  State state() const { return state_; }
  std::size_t bytes() const { return bytes_; }
  bool is_recorded() const { return records_; }
  bool is_stream() const { return streaming_; }
  bool is_given_up() const { return state_ == State::running && given_up_.has_value(); }
  // Its endpoint has set out, and before that it had all it needs: a session's turn is its own, or was.
  bool is_under_way() const { return under_way_; }
  bool is_unread() const { return state_ == State::running && readers_.empty(); }
  std::size_t readers_ever() const { return readers_ever_; }
  // Its last reader left before it had all, so that somebody may still ask for it.
  bool was_left() const { return was_left_; }
  // It failed, and what was done until then stays: its client may try again by itself.
  bool broke_off() const { return broke_off_; }

  // ---- Readers
  // From its beginning on. A retry's answer says so (Idempotent-Replayed).
  void attach(const std::shared_ptr<Exchange>& exchange, bool is_retry);
  // The endpoint hears that its client has gone.
  void give_up(AbandonCause cause);
  // When the endpoint is done with it.
  void when_ended(std::function<void()> task);
  // Keeps nothing of it from now on; those who read it get the rest as it comes.
  void stop_recording();

  // ---- The endpoint
  void add_header(Header header);
  void respond(Response response);
  void start_stream();
  void send(std::string events);
  void finish_stream();
  void fail(const RequestError& error);
  void note_tokens(const TokenCounts& tokens);
  void on_abandoned(std::function<void(AbandonCause)> callback);
  void on_room(std::function<void()> callback) { room_callback_ = std::move(callback); }
  void let_go();  // nothing more comes; of what was given up, something was done
  // Nobody reads, or everybody is behind.
  bool is_held_back() const;

 private:
  struct Reader {
    std::shared_ptr<Exchange> exchange;
    std::size_t next = 0;  // event, counted from the first of the answer
    bool started = false;
  };

  void feed(Reader& reader, bool all);
  void feed_all(bool all);
  void leave(const Exchange* exchange, AbandonCause cause);
  void offer_room();
  void tell(Change change);
  void grow(std::size_t bytes);
  void end(State state);

  std::function<void(Change)> listener_;
  State state_ = State::running;
  std::vector<Header> headers_;
  std::optional<Response> response_;
  bool streaming_ = false;
  std::deque<std::string> events_;
  std::size_t dropped_events_ = 0;
  std::optional<RequestError> error_;
  std::size_t bytes_ = 0;
  bool records_ = true;

  std::list<Reader> readers_;  // until each has all, or leaves
  std::size_t readers_ever_ = 0;
  bool was_left_ = false;
  bool broke_off_ = false;
  bool under_way_ = false;
  std::optional<AbandonCause> given_up_;
  std::function<void(AbandonCause)> abandoned_callback_;
  std::function<void()> room_callback_;
  std::vector<std::function<void()>> when_ended_;
};

}  // namespace sinkstream
