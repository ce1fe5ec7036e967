// The messages of a chat, checked.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "coordinator/api/request/request_fields.h"

namespace sinkstream {

// Reads the field `messages`, which must be there and not be empty: each an object with a known role and a
// text, or several text parts, as its content; an assistant's or a tool's may be absent or empty. What a
// client may have had from another server (the assistant's tool calls, tools' results, reasoning, refusals)
// is data for the template, older ways to write it (`function_call`, the role `function`) in today's. Throws
// RequestError (400).
nlohmann::ordered_json read_messages(RequestFields& fields);

// The content of a message that was read, as one text: its parts one after the other; empty where there is
// none.
std::string text_of(const nlohmann::ordered_json& message);

// A way to show a template what it may not take as it came. Clients send the arguments of tool calls as JSON
// in a string; most templates want the object, some add the string to a text. Arguments that are no JSON
// object (those of a cut-off answer) stay the text that came, or become {"arguments": text} for a template
// that goes through an object's items. An absent content is left out, or is an empty text.
struct HistoryForm {
  enum class Arguments { parsed, as_sent, objects } arguments;
  bool empty_contents;
};
// The usual one first; the others are for templates that raise.
inline constexpr HistoryForm kHistoryForms[] = {
    {HistoryForm::Arguments::parsed, false},  {HistoryForm::Arguments::as_sent, false},
    {HistoryForm::Arguments::objects, false}, {HistoryForm::Arguments::parsed, true},
    {HistoryForm::Arguments::as_sent, true},  {HistoryForm::Arguments::objects, true}};
nlohmann::ordered_json in_form(nlohmann::ordered_json messages, const HistoryForm& form);

// The definitions that a client gives in the field `tools`: an array of objects, nullptr when absent or
// empty.
const nlohmann::ordered_json* read_tools(RequestFields& fields);

}  // namespace sinkstream
