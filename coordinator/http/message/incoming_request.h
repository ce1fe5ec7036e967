// A request while it is being received: the checked head goes to Beast's parser, which also undoes the
// chunked encoding.
#pragma once

#include <atomic>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "coordinator/http/message/message.h"
#include "coordinator/http/message/request_head.h"
#include "coordinator/http/server_settings.h"

namespace sinkstream {

// From here on a body takes long to parse, and counts against the memory for all such.
inline constexpr std::size_t kLargeBodyBytes = 262144;

// A body's share of the memory for all large bodies that are being received or parsed.
class BodyReservation {
 public:
  explicit BodyReservation(std::shared_ptr<std::atomic<std::int64_t>> bytes_of_all)
      : bytes_of_all_(std::move(bytes_of_all)) {}
  ~BodyReservation() { *bytes_of_all_ -= bytes_; }
  BodyReservation(const BodyReservation&) = delete;
  BodyReservation& operator=(const BodyReservation&) = delete;
  bool grow_to(std::int64_t bytes, std::int64_t max_of_all);  // false: no room

 private:
  std::shared_ptr<std::atomic<std::int64_t>> bytes_of_all_;
  std::int64_t bytes_ = 0;
};

class IncomingRequest {
 public:
  IncomingRequest(const ServerSettings& settings,
                  std::shared_ptr<std::atomic<std::int64_t>> body_bytes_of_all);

  // Finds out how long the head is: 0 while it is not complete. Throws RequestError.
  std::size_t scan_head(std::string_view input);
  // Takes the head. Throws RequestError.
  void take_head(std::string_view head);

  // The rest, after take_head.
  Request& request() { return request_; }
  const Request& request() const { return request_; }
  bool has_body() const;
  bool complete() const { return head_taken_ && parser_.is_done(); }
  bool keeps_alive() const { return complete() && parser_.keep_alive(); }
  bool http_1_0() const { return head_taken_ && parser_.get().version() == 10; }
  bool expects_continue() const;

  // Before any byte of the body is read. Throws RequestError: 413.
  void check_body_length();
  // Takes what it can from the front of `input` and returns how much. Throws RequestError: 400, 413, or 503
  // when too much is being received at once.
  std::size_t take_body(std::string_view input);
  // Moves the finished body into the request; the reservation goes along until the body is parsed.
  std::shared_ptr<BodyReservation> finish_body();

 private:
  HeadLimits limits_;
  std::int64_t max_body_bytes_;
  HeadScanner scanner_;
  boost::beast::http::request_parser<boost::beast::http::string_body> parser_;
  bool head_taken_ = false;
  Request request_;
  std::shared_ptr<BodyReservation> reservation_;
};

}  // namespace sinkstream
