#include "coordinator/http/message/response_format.h"

#include <fmt/format.h>

#include <boost/beast/http/status.hpp>
#include <ctime>

namespace sinkstream {
namespace {

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

std::string format_fields(const std::vector<Header>& fields) {
  std::string bytes;
  for (const Header& field : fields) bytes += field.name + ": " + field.value + "\r\n";
  return bytes;
}

std::string format_head(int status, const std::string& content_type, const std::string& request_id,
                        bool keep_alive, const ResponseFraming& framing) {
  const auto reason = boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(status));
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nx-request-id: {}\r\n", status,
                                 std::string_view(reason.data(), reason.size()), http_date(), request_id);
  if (!content_type.empty()) {
    head += "Content-Type: " + content_type + "\r\nX-Content-Type-Options: nosniff\r\n";
  }
  if (!keep_alive) {
    head += "Connection: close\r\n";
  } else if (framing.http_1_0) {
    head += "Connection: keep-alive\r\n";
  }
  head += format_fields(framing.headers);
  return head;
}

}  // namespace

std::string format_response(const Response& response, const std::string& request_id,
                            const ResponseFraming& framing) {
  constexpr int kNoContent = 204, kNotModified = 304;
  const bool no_content = response.status == kNoContent || response.status == kNotModified;
  std::string bytes = format_head(response.status, no_content ? "" : response.content_type, request_id,
                                  framing.keep_alive, framing);
  bytes += format_fields(response.headers);
  if (!no_content) bytes += fmt::format("Content-Length: {}\r\n", response.body.size());
  bytes += "\r\n";
  if (!no_content && !framing.head_only) bytes += response.body;
  return bytes;
}

std::string format_stream_head(const std::string& request_id, const ResponseFraming& framing) {
  std::string head =
      format_head(200, "text/event-stream", request_id, framing.keep_alive && !framing.http_1_0, framing);
  head += "Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n";
  if (!framing.http_1_0) head += "Transfer-Encoding: chunked\r\n";
  return head + "\r\n";
}

std::string format_stream_bytes(std::string_view bytes, const ResponseFraming& framing) {
  if (framing.http_1_0) return std::string(bytes);
  return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

std::string format_stream_end(const ResponseFraming& framing) {
  return framing.http_1_0 ? "" : "0\r\n\r\n";
}

}  // namespace sinkstream
