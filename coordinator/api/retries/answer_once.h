// Endpoints that change sessions: whoever sends a request again, since it did not get the answer, gets the
// answer, and nothing is done twice.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "coordinator/api/api_context.h"
#include "coordinator/http/router.h"

namespace sinkstream {

// May throw RequestError.
using JsonHandler = void (*)(ApiContext& api, const std::shared_ptr<Exchange>& exchange,
                             const nlohmann::ordered_json& body);

// A route's handler that reads the body and gives it to `handler`, unless the request is a retry.
Handler answer_once(ApiContext& api, JsonHandler handler, bool reads_expected_seen);

}  // namespace sinkstream
