// GET /health, /health/ready: whether requests are taken and answered. GET /health/live: whether this process
// runs.
#include <fmt/format.h>

#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/engine_health.h"
#include "coordinator/api/generation/answer_format.h"
#include "coordinator/api/journal/journal.h"

namespace sinkstream {
namespace {

Response status_response(int status, Json body) {
  Response response{status, "application/json", to_text(body)};
  response.headers.push_back({"Cache-Control", "no-store"});
  return response;
}

// The socket answering proves nothing: what counts is that the worker group makes steps.
Response health(const ApiContext& api) {
  constexpr int kUnavailable = 503;
  if (const auto failure = api.availability.failure()) {
    return status_response(kUnavailable, {{"status", "failed"}, {"message", *failure}});
  }
  const EngineStats stats = api.engine.stats();
  if (!makes_steps(stats, api.engine.limits())) {
    const std::string message = fmt::format("a step has not finished for {:.1f} s", stats.seconds_since_step);
    return status_response(kUnavailable, {{"status", "failed"}, {"message", message}});
  }
  if (const RankStatus* silent = silent_rank(stats)) {
    const std::string message = fmt::format("rank {} on {} is silent", silent->rank, silent->host);
    return status_response(kUnavailable, {{"status", "failed"}, {"message", message}});
  }
  if (api.availability.draining()) return status_response(kUnavailable, {{"status", "draining"}});
  Json body = {{"status", "ok"}};
  // Another start would not help, and requests without a session are answered.
  const std::string problem = api.journal ? api.journal->stats().problem : std::string();
  if (!problem.empty()) body["journal"] = {{"status", "failed"}, {"message", problem}};
  return status_response(200, std::move(body));
}

}  // namespace

void add_health(Router& router, ApiContext& api) {
  for (const char* path : {"/health", "/health/ready"}) {
    router.add(
        {.method = "GET",
         .path = path,
         .handler = [&api](const std::shared_ptr<Exchange>& exchange) { exchange->respond(health(api)); },
         .open = true,
         .probe = true});
  }
  router.add({.method = "GET",
              .path = "/health/live",
              .handler =
                  [](const std::shared_ptr<Exchange>& exchange) {
                    exchange->respond(status_response(200, {{"status", "ok"}}));
                  },
              .open = true,
              .probe = true});
}

}  // namespace sinkstream
