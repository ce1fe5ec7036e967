#include "coordinator/api/chat_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "coordinator/api/request_json.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
constexpr std::size_t kMaxKeys = 64;  // of a message; looking for one goes through all of them

void must_be_object(const json& value, const std::string& name) {
  if (!value.is_object()) throw bad_request("'" + name + "' must be an object.", name, "invalid_type");
}

void check_part(const json& part, const std::string& name) {
  must_be_object(part, name);
  RequestFields fields(part, name + ".");
  const std::string type = fields.string("type").value_or("");
  if (type != "text") {
    throw fields.error(
        "type",
        fmt::format("Only parts of type \"text\" are supported, not \"{:.50}\": the model reads "
                    "text alone, no images, audio or files.",
                    type),
        "unsupported_content");
  }
  if (!fields.string("text"))
    throw fields.error("text", "A text part needs its 'text'.", "missing_required_parameter");
}

void check_content(RequestFields& fields, bool may_be_absent) {
  const json* content = fields.value("content");
  if (!content) {
    if (may_be_absent) return;
    throw fields.error("content", "Each message needs a 'content'.", "missing_required_parameter");
  }
  if (content->is_string()) return;
  if (!content->is_array() || (content->empty() && !may_be_absent))
    throw fields.error("content", "'content' must be a string or an array of text parts.", "invalid_type");
  for (std::size_t i = 0; i < content->size(); ++i)
    check_part((*content)[i], fmt::format("{}content[{}]", fields.path(), i));
}

void check_tool_calls(const json& calls, const std::string& name) {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::string call_name = fmt::format("{}[{}]", name, i);
    must_be_object(calls[i], call_name);
    RequestFields call(calls[i], call_name + ".");
    call.refuse_unless("type", "function");
    auto function = call.object("function");
    if (!function)
      throw call.error("function", "A tool call needs its 'function'.", "missing_required_parameter");
    if (!function->string("name"))
      throw function->error("name", "A tool call's function needs its 'name'.", "missing_required_parameter");
  }
}

void check_message(const json& message, const std::string& name) {
  must_be_object(message, name);
  if (message.size() > kMaxKeys)
    throw bad_request(fmt::format("'{}' has more than {} fields.", name, kMaxKeys), name);
  RequestFields fields(message, name + ".");
  const auto role = fields.string("role");
  if (!role) throw fields.error("role", "Each message needs a 'role'.", "missing_required_parameter");
  if (std::find(kRoles.begin(), kRoles.end(), *role) == kRoles.end())
    throw fields.error("role", "'role' must be system, developer, user, assistant or tool.");
  fields.refuse({"function_call", "audio", "refusal"});
  for (const char* text : {"name", "tool_call_id", "reasoning_content", "reasoning", "thinking"})
    fields.string(text);
  const json* calls = fields.array("tool_calls");
  if (calls && *role != "assistant")
    throw fields.error("tool_calls", "Only an assistant's message has 'tool_calls'.");
  if (calls) check_tool_calls(*calls, name + ".tool_calls");
  check_content(fields, /*may_be_absent=*/*role == "assistant" || *role == "tool");
}

// The object that a string holds; all else as it came, or inside an object where there must be one.
json parsed_arguments(const json& arguments, bool must_be_object) {
  if (arguments.is_object()) return arguments;
  if (arguments.is_string()) {
    const std::string& text = arguments.get_ref<const std::string&>();
    if (text.find_first_not_of(" \t\r\n") == text.npos) return json::object();
    try {
      return parse_request_json(text);
    } catch (const RequestError&) {  // no JSON object: the text that came
    }
  }
  if (!must_be_object) return arguments;
  return arguments.is_null() ? json::object() : json({{"arguments", arguments}});
}

void fill_content(json& message) {
  json& content = message["content"];
  if (content.is_null() || (content.is_array() && content.empty())) content = "";
}

}  // namespace

json read_messages(RequestFields& fields) {
  const json* messages = fields.array("messages");
  if (!messages) throw fields.error("messages", "'messages' is missing.", "missing_required_parameter");
  if (messages->empty()) throw fields.error("messages", "'messages' must not be empty.");
  for (std::size_t i = 0; i < messages->size(); ++i)
    check_message((*messages)[i], fmt::format("messages[{}]", i));
  return *messages;
}

json in_form(json messages, const HistoryForm& form) {
  for (json& message : messages) {
    if (form.empty_contents) fill_content(message);
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || form.arguments == HistoryForm::Arguments::as_sent) continue;
    for (json& call : *calls) {
      json& function = call["function"];
      const auto arguments = function.find("arguments");
      if (arguments != function.end())
        *arguments = parsed_arguments(*arguments, form.arguments == HistoryForm::Arguments::objects);
    }
  }
  return messages;
}

const json* read_tools(RequestFields& fields) {
  const json* tools = fields.array("tools");
  if (!tools) return nullptr;
  for (std::size_t i = 0; i < tools->size(); ++i) must_be_object((*tools)[i], fmt::format("tools[{}]", i));
  return tools;
}

}  // namespace sinkstream
