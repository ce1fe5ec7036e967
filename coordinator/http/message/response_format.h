// Responses as bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/message/message.h"

namespace sinkstream {

// What of the request decides how its response looks.
struct ResponseFraming {
  bool http_1_0 = false;             // no chunked encoding
  bool keep_alive = true;            // as the client asked, and the server can
  bool head_only = false;            // HEAD: no body
  std::vector<Header> headers = {};  // that every answer to it carries
};

std::string format_response(const Response& response, const std::string& request_id,
                            const ResponseFraming& framing);

// A stream of unknown length: chunked, or until the connection closes in HTTP/1.0.
std::string format_stream_head(const std::string& request_id, const ResponseFraming& framing);
std::string format_stream_bytes(std::string_view bytes, const ResponseFraming& framing);
std::string format_stream_end(const ResponseFraming& framing);

}  // namespace sinkstream
