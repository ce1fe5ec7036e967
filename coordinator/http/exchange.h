// One request and the way to answer it. Endpoints know this, not sockets.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "coordinator/http/message/message.h"
#include "coordinator/http/message/request_error.h"

namespace sinkstream {

enum class AbandonCause {
  client_left,
  client_stalled,  // took nothing for ServerSettings::stall_seconds
  server_ended,
};

// Of one request, all its choices together.
struct TokenCounts {
  std::int64_t prompt = 0;
  std::int64_t completion = 0;
};

// Either one respond(), or start_stream() ... finish_stream(); fail() at any time. What comes after the end,
// or after the client has gone, is ignored. An exchange that is let go unanswered becomes a 500. All methods
// but backlogged: any thread; calls from one thread take effect in order.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;  // its body is empty: see take_body
  virtual std::string take_body() = 0;         // once

  // Of the answer, whatever it becomes; before it begins. Name and value are visible ASCII and spaces.
  virtual void add_header(Header header) = 0;

  virtual void respond(Response response) = 0;

  // 200 and a stream of server-sent events; `send` takes whole ones, e.g. "data: {...}\n\n".
  virtual void start_stream() = 0;
  virtual void send(std::string_view events) = 0;
  virtual void finish_stream() = 0;

  // Before a stream has started, an error response. In it, an error event, then the connection breaks off
  // without the end of its chunked body, so that no client takes the answer for whole.
  virtual void fail(const RequestError& error) = 0;

  // For the log; before the answer's end. Of a session's turn first when it has been taken in.
  virtual void note_tokens(const TokenCounts& tokens) = 0;

  // Called once on the I/O thread when the client has gone or the server has given the exchange up before its
  // answer was complete; at once if that is so already.
  virtual void on_abandoned(std::function<void(AbandonCause)> callback) = 0;

  // More unsent bytes than ServerSettings::max_stream_buffer_bytes. I/O thread.
  virtual bool backlogged() const = 0;
  // Called on the I/O thread each time when a backlog has gone, until the answer ends.
  virtual void on_room(std::function<void()> callback) = 0;
};

}  // namespace sinkstream
