#include "coordinator/api/sessions/session_errors.h"

namespace sinkstream {

RequestError no_such_session(const std::string& id) {
  constexpr std::size_t kMaxQuotedBytes = 64;
  return {404, "not_found_error", "session_not_found",
          "There is no session '" + id.substr(0, kMaxQuotedBytes) +
              "': it was deleted, was not used for its ttl_seconds, or the server has started anew.",
          "session"};
}

RequestError session_damaged(const std::string& why) {
  return {500, "server_error", "session_damaged", "The session can't be read: " + why, "session"};
}

}  // namespace sinkstream
