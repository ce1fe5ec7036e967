// A small HTTP client that can misbehave: it sends whatever bytes a test wants, to 127.0.0.1 only.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream::testing {

struct RawResponse {
  int status = 0;                              // 0: the connection ended without one
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // without its chunked encoding
  bool complete = false;  // the body has its end: all of Content-Length, or the last chunk
  std::string raw_head;
};

class RawClient {
 public:
  // `address`: "127.0.0.1:8000".
  explicit RawClient(const std::string& address);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool send(std::string_view bytes);  // false: the server does not take them
  // Reads one response. `head_only`: to a HEAD request.
  RawResponse receive(bool head_only = false);
  // Reads until `text` has come, or the end.
  bool receive_until(std::string_view text);
  bool at_end();  // the server closes in time, and sends nothing more
  void close();
  void half_close();  // sends no more, and still reads
  void shrink_receive_buffer();
  const std::string& unread() const { return buffer_; }

 private:
  bool fill();  // false: end, error, or kPatience
  RawResponse receive_final(bool head_only);
  void receive_chunks(RawResponse& response);

  int socket_ = -1;
  std::string buffer_;
};

std::string get(std::string_view path);
std::string post(std::string_view path, std::string_view body, std::string_view more_headers = "");

// One request on a connection of its own.
RawResponse ask_once(const std::string& address, std::string_view request);

// The `data:` of each event of a body, comments left out. Fails the test on anything else.
std::vector<std::string> events_of(const std::string& body);

}  // namespace sinkstream::testing
