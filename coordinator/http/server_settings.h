// The `server:` section of the configuration.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sinkstream {

struct ServerSettings {
  std::string listen = "127.0.0.1:8000";     // host:port, [v6]:port; port 0 takes a free one
  std::string api_key_file;                  // one key a line; empty: no key needed
  bool insecure = false;                     // allow listening beyond loopback without keys
  std::vector<std::string> allowed_origins;  // whose pages may read answers, "https://a.example"; "*": any
  std::vector<std::string> allowed_hosts;    // names of this server beside the loopback ones; "*": any
  // Proxies whose X-Forwarded-For or Forwarded counts, for the log: addresses and networks.
  std::vector<std::string> trusted_proxies = {"127.0.0.1", "::1"};
  std::int64_t max_body_bytes = 16777216;
  std::int64_t max_header_bytes = 65536;
  std::int64_t max_connections = 1024;
  std::int64_t max_live_prompt_tokens = 67108864;  // of all requests that wait or are being answered
  std::optional<std::int64_t> tokens_per_minute;  // of each API key, taken in and generated; none: any number
  std::int64_t max_stream_buffer_bytes = 262144;  // unsent output of one stream before its session pauses
  double header_seconds = 10;                     // a request's head must be complete by then
  double body_seconds = 60;                       // and its body
  double idle_seconds = 75;                       // keep-alive between requests
  double pipeline_seconds = 1;  // how long requests that fill the buffer wait for an answer ahead
  double stall_seconds = 30;    // a reader that takes nothing for this long is dropped
  double ping_seconds = 15;     // comment on a silent stream
  double drain_seconds = 30;    // how long streams in flight may go on after a request to end
};

// The same, if all of it can be; else throws StartupError (ExitCode::config) naming the key.
ServerSettings checked(const ServerSettings& settings);

// What is wrong with an item of a list, or nothing.
std::string trusted_proxy_problem(const std::string& item);
std::string allowed_origin_problem(const std::string& item);
std::string allowed_host_problem(const std::string& item);

}  // namespace sinkstream
