#include "coordinator/api/request/chat_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "coordinator/api/request/request_json.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                    "assistant", "tool",      "function"};
constexpr std::size_t kMaxKeys = 64;  // of a message; looking for one goes through all of them

void must_be_object(const json& value, const std::string& name) {
  if (!value.is_object()) throw bad_request("'" + name + "' must be an object.", name, "invalid_type");
}

void check_part(const json& part, const std::string& name, bool may_refuse) {
  must_be_object(part, name);
  RequestFields fields(part, name + ".");
  const std::string type = fields.string("type").value_or("");
  if (type == "refusal" && may_refuse) {
    if (fields.string("refusal")) return;
    throw fields.error("refusal", "A refusal part needs its 'refusal'.", "missing_required_parameter");
  }
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

void check_content(RequestFields& fields, std::string_view role) {
  const bool may_be_absent = role == "assistant" || role == "tool" || role == "function";
  const json* content = fields.value("content");
  if (!content) {
    if (may_be_absent) return;
    throw fields.error("content", "Each message needs a 'content'.", "missing_required_parameter");
  }
  if (content->is_string()) return;
  if (!content->is_array() || (content->empty() && !may_be_absent))
    throw fields.error("content", "'content' must be a string or an array of text parts.", "invalid_type");
  for (std::size_t i = 0; i < content->size(); ++i)
    check_part((*content)[i], fmt::format("{}content[{}]", fields.path(), i), role == "assistant");
}

void check_function(RequestFields& function) {
  if (function.string("name")) return;
  throw function.error("name", "A tool call's function needs its 'name'.", "missing_required_parameter");
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
    check_function(*function);
  }
}

// What an answer may hold besides its text, as clients send it back.
void check_answer(RequestFields& fields) {
  fields.string("refusal");
  if (auto call = fields.object("function_call")) check_function(*call);
  if (const json* calls = fields.array("tool_calls")) check_tool_calls(*calls, fields.path() + "tool_calls");
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
  fields.refuse({"audio"});
  for (const char* text : {"name", "tool_call_id", "reasoning_content", "reasoning", "thinking"})
    fields.string(text);
  if (*role == "assistant") {
    check_answer(fields);
  } else {
    fields.refuse({"tool_calls", "function_call", "refusal"});
  }
  check_content(fields, *role);
}

// ---- older and other ways to write the same

// Nine letters and digits: some templates take no other id.
std::string call_id(std::size_t number) {
  return fmt::format("call{:05}", number % 100'000);
}

bool is_empty(const json& message, const char* name) {
  const auto field = message.find(name);
  return field == message.end() || field->is_null() || field->empty() || *field == "";
}

// `function_call` and the role `function` are what tool calls and their results were before those.
void modernize_functions(json& message, std::size_t& num_calls) {
  if (message["role"] == "function") {
    message["role"] = "tool";
    message["tool_call_id"] = call_id(num_calls);
  }
  if (is_empty(message, "tool_calls") && !is_empty(message, "function_call")) {
    message["tool_calls"] = json::array(
        {{{"id", call_id(++num_calls)}, {"type", "function"}, {"function", message["function_call"]}}});
  }
  message.erase("function_call");
}

// A model's refusal is what it answered.
void show_refusal(json& message) {
  if (const auto content = message.find("content"); content != message.end() && content->is_array()) {
    for (json& part : *content) {
      if (part["type"] == "refusal") part = {{"type", "text"}, {"text", part["refusal"]}};
    }
  }
  if (is_empty(message, "refusal") || !is_empty(message, "content")) return;
  message["content"] = message["refusal"];
  message.erase("refusal");
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
  json history = *messages;
  std::size_t num_calls = 0;
  for (json& message : history) {
    modernize_functions(message, num_calls);
    show_refusal(message);
    if (is_empty(message, "tool_calls")) message.erase("tool_calls");  // templates ask whether there are any
  }
  return history;
}

std::string text_of(const json& message) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) return "";
  if (content->is_string()) return *content;
  std::string text;
  for (const json& part : *content) text += part.at("text").get_ref<const std::string&>();
  return text;
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
  return tools->empty() ? nullptr : tools;
}

}  // namespace sinkstream
