#include "coordinator/api/generation/engine_errors.h"

#include <spdlog/spdlog.h>

namespace sinkstream {

RequestError refusal_error(const Refused& event, const std::string& request_id) {
  switch (event.reason) {
    case RefusalReason::queue_full:
      return too_busy(
          "The server has as much work as it can queue, or as many sessions as it can keep; try again soon.");
    case RefusalReason::ending:
      return unavailable("The server is ending and takes no new requests.");
    case RefusalReason::unknown_session:
      return {404, "not_found_error", "session_not_found", "The session has ended.", "session"};
    case RefusalReason::failed:
      return {500, "server_error", "session_failed", "The session could not be copied: " + event.message};
    default:
      spdlog::error("{}: the engine refuses a request that was checked: {}", request_id, event.message);
      return internal_error();
  }
}

// Nobody reads it.
RequestError left_before() {
  constexpr int kClientLeft = 499;
  return {kClientLeft, "client_error", "client_left", "The client left before anything was done."};
}

// The turn was taken in: the session keeps what it was given, and what was told.
RequestError broken_off(const TurnEnded& event) {
  RequestError error = [&]() -> RequestError {
    if (event.reason == FinishReason::cancelled) {
      return conflict("session_deleted", "The session was deleted during its turn.", "session");
    }
    if (event.reason != FinishReason::failed) {
      const std::string why = event.message.empty() ? "the server is ending" : event.message;
      return unavailable("The generation broke off: " + why);
    }
    return {500, "server_error", "generation_failed", "The generation failed: " + event.message};
  }();
  error.leaves_changes = event.reason != FinishReason::cancelled;  // else nothing of the session is left
  return error;
}

}  // namespace sinkstream
