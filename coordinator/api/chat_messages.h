// The messages of a chat, checked.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "coordinator/api/request_fields.h"

namespace sinkstream {

// Reads the field `messages`, which must be there and not be empty: each an object with a known role and a
// text, or several text parts, as its content. What a client may have had from another server (the
// assistant's tool calls, tools' results, reasoning) is data for the template. Throws RequestError (400).
nlohmann::ordered_json read_messages(RequestFields& fields);

// Clients send the arguments of tool calls as JSON in a string; most templates want the object. Returns
// whether there were any to read. Throws RequestError (400) when a string is no JSON object.
bool read_tool_arguments(nlohmann::ordered_json& messages);

// The definitions that a client gives in the field `tools`: an array of objects, nullptr when absent.
const nlohmann::ordered_json* read_tools(RequestFields& fields);

}  // namespace sinkstream
