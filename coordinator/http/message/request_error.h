// A refused or failed request, in OpenAI's shape: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/http/message/message.h"

namespace sinkstream {

struct RequestError : std::runtime_error {
  RequestError(int http_status, std::string error_type, std::string error_code, const std::string& message,
               std::string parameter = {})
      : std::runtime_error(message),
        status(http_status),
        type(std::move(error_type)),
        code(std::move(error_code)),
        param(std::move(parameter)) {}

  int status;
  std::string type;
  std::string code;                                                // empty: null
  std::string param;                                               // empty: null
  std::vector<std::pair<std::string, std::int64_t>> numbers = {};  // further members, e.g. n_prompt_tokens
  std::vector<Header> headers = {};                                // e.g. Retry-After, Allow
  bool leaves_changes = false;  // what the request did until then stays
};

// 400. `param` names the offending field, e.g. "messages[2].role".
RequestError bad_request(const std::string& message, std::string param = {},
                         std::string code = "invalid_value");
// 400 for what the protocol forbids before any endpoint is reached, or with another status of the 4xx.
RequestError protocol_error(int status, const std::string& message, std::string code = {});
// 409 that no retry changes, and says so to the official clients, which try every 409 again.
RequestError conflict(std::string code, const std::string& message, std::string param);
// 429 with Retry-After: as much work is being done or waits as there is room for.
RequestError too_busy(const std::string& message);
// 503 with Retry-After: ending, or the worker group is lost.
RequestError unavailable(const std::string& message);
// 500: our bug. The message carries nothing from inside.
RequestError internal_error();

// The JSON body.
std::string error_body(const RequestError& error);
Response error_response(const RequestError& error);

}  // namespace sinkstream
