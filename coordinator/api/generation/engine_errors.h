// What a client is told when the engine refuses a command, or breaks a turn off.
#pragma once

#include <string>

#include "coordinator/http/message/request_error.h"
#include "engine/events.h"

namespace sinkstream {

// As the engine says it, where it need not be asked.
inline Refused refused_for(RefusalReason reason) {
  return {.request = 0, .reason = reason, .message = {}, .usage = {}};
}

// A refusal that the command's checks should have made impossible is our bug: it is logged, and answered 500.
RequestError refusal_error(const Refused& event, const std::string& request_id);
// Nothing was done for a client that left before.
RequestError left_before();
// A client may try again where another start of the server would help, and only there.
RequestError broken_off(const TurnEnded& event);

}  // namespace sinkstream
