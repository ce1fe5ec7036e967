#include "coordinator/http/message/incoming_request.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <random>

#include "coordinator/http/message/request_error.h"
#include "coordinator/http/message/request_target.h"

namespace sinkstream {
namespace {

namespace http = boost::beast::http;

// The longest chunk-size line with its extensions, and the longest trailer.
constexpr std::size_t kMaxChunkLineBytes = 8192;
// How many bodies of the largest size may be in memory at once, spread over any number of connections.
constexpr std::int64_t kMaxLargestBodies = 16;

std::string new_request_id() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string id = "req_";
  for (int word = 0; word < 2; ++word) {
    std::uint64_t bits = random();
    for (int i = 0; i < 16; ++i, bits >>= 4) id += kHex[bits & 15];
  }
  return id;
}

// The caller's own id if it can stand in a header and in a log line.
std::string request_id(std::string_view given) {
  constexpr std::size_t kMaxBytes = 128;
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f; };
  if (given.empty() || given.size() > kMaxBytes || !std::all_of(given.begin(), given.end(), is_visible)) {
    return new_request_id();
  }
  return std::string(given);
}

RequestError too_long(std::int64_t max_bytes) {
  return protocol_error(413, "The body is longer than " + std::to_string(max_bytes) + " bytes.");
}

std::string to_string(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

bool BodyReservation::grow_to(std::int64_t bytes, std::int64_t max_of_all) {
  if (bytes <= bytes_) return true;
  if (*bytes_of_all_ + bytes - bytes_ > max_of_all) return false;
  *bytes_of_all_ += bytes - bytes_;
  bytes_ = bytes;
  return true;
}

IncomingRequest::IncomingRequest(const ServerSettings& settings,
                                 std::shared_ptr<std::atomic<std::int64_t>> body_bytes_of_all)
    : limits_{.max_bytes = static_cast<std::size_t>(settings.max_header_bytes)},
      max_body_bytes_(settings.max_body_bytes),
      scanner_(limits_),
      reservation_(std::make_shared<BodyReservation>(std::move(body_bytes_of_all))) {
  parser_.header_limit(static_cast<std::uint32_t>(limits_.max_bytes));
  parser_.body_limit(boost::none);  // check_body_length answers better
  request_.id = new_request_id();
}

std::size_t IncomingRequest::scan_head(std::string_view input) {
  const HeadScanner::Result result = scanner_.scan(input);
  if (result.refusal) throw protocol_error(result.refusal->status, result.refusal->reason);
  return result.head_bytes;
}

void IncomingRequest::take_head(std::string_view head) {
  if (const auto refusal = check_request_head(head, limits_)) {
    throw protocol_error(refusal->status, refusal->reason);
  }
  boost::beast::error_code error;
  parser_.put(boost::asio::buffer(head.data(), head.size()), error);
  if (error || !parser_.is_header_done()) throw protocol_error(400, "The head is malformed.");
  parser_.eager(true);
  head_taken_ = true;

  const auto& fields = parser_.get();
  request_.method = to_string(fields.method_string());
  const std::string sent_target = to_string(fields.target());
  const RequestTarget target = parse_target(request_.method, sent_target).target;
  request_.target = target.path_and_query;
  request_.path = decode_path(request_.target).value_or("");
  for (const auto& field : fields) {
    request_.headers.push_back({to_string(field.name_string()), to_string(field.value())});
  }
  request_.host = target.authority.empty() ? request_.header("host") : target.authority;
  request_.id = request_id(request_.header("x-request-id"));
}

bool IncomingRequest::has_body() const {
  return head_taken_ && !parser_.is_done();
}

bool IncomingRequest::expects_continue() const {
  return !request_.header("expect").empty() && !http_1_0();
}

void IncomingRequest::check_body_length() {
  const auto length = parser_.content_length();
  if (length && *length > static_cast<std::uint64_t>(max_body_bytes_)) throw too_long(max_body_bytes_);
  parser_.body_limit(static_cast<std::uint64_t>(max_body_bytes_));
}

std::size_t IncomingRequest::take_body(std::string_view input) {
  std::size_t taken = 0;
  while (!parser_.is_done() && taken < input.size()) {
    const std::string_view slice = input.substr(taken, kMaxChunkLineBytes);
    boost::beast::error_code error;
    const std::size_t used = parser_.put(boost::asio::buffer(slice.data(), slice.size()), error);
    taken += used;
    if (error == http::error::body_limit) throw too_long(max_body_bytes_);
    if (error && error != http::error::need_more) throw protocol_error(400, "The chunked body is malformed.");
    if (used == 0 && slice.size() == kMaxChunkLineBytes) {
      throw protocol_error(
          400, "A chunk header or trailer is longer than " + std::to_string(kMaxChunkLineBytes) + " bytes.");
    }
    if (used == 0) break;
  }
  const std::size_t held = parser_.get().body().size();
  if (held > kLargeBodyBytes &&
      !reservation_->grow_to(static_cast<std::int64_t>(held), kMaxLargestBodies * max_body_bytes_)) {
    throw unavailable("Too many large requests are being received; try again soon.");
  }
  return taken;
}

std::shared_ptr<BodyReservation> IncomingRequest::finish_body() {
  request_.body = std::move(parser_.get().body());
  return std::move(reservation_);
}

}  // namespace sinkstream
