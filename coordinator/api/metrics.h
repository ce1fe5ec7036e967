// What GET /metrics shows, in Prometheus' text format. Labels never hold ids or user text.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "coordinator/http/server.h"

namespace sinkstream {

struct ApiContext;

// Any thread.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  void expect_endpoint(const std::string& path);  // its requests are counted from 0
  void count_request(const AnsweredRequest& request);
  void count_finish(const char* reason);  // stop, length, failed, abandoned
  void count_abort(const char* why);  // of requests: client_left, client_stalled, server_ended, engine_failed
  void observe_first_token(std::chrono::steady_clock::duration since_request);
  void observe_token_gap(std::chrono::steady_clock::duration gap);

  // All of it, with the engine's numbers as they are now.
  std::string render(const ApiContext& api) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
