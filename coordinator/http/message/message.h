// A request as it came and a response as it goes out.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream {

struct Header {
  std::string name;
  std::string value;
};

struct Request {
  std::string id;  // x-request-id: the caller's own or a new one
  std::string method;
  std::string target;  // path and query as sent, visible ASCII; or "*"
  std::string host;    // whom it is for: the target's own authority, else the Host header
  std::string path;    // percent-decoded, without the query
  std::vector<Header> headers;
  std::string body;
  std::chrono::steady_clock::time_point received;

  // The field's value, empty when absent; names compare without case. Fields that matter here come at most
  // once (check_request_head).
  std::string_view header(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<Header> headers = {};
};

bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace sinkstream
