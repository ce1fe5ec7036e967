#include "coordinator/api/chat_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <random>

#include "coordinator/text/utf8.h"

namespace sinkstream {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 4> kRoles = {"system", "developer", "user", "assistant"};

std::string read_text_parts(const json& parts, const std::string& name) {
  std::string text;
  int index = 0;
  for (const json& part : parts) {
    const std::string part_name = fmt::format("{}[{}]", name, index++);
    if (!part.is_object())
      throw bad_request("'" + part_name + "' must be an object.", part_name, "invalid_type");
    RequestFields fields(part, part_name + ".");
    const std::string type = fields.string("type").value_or("");
    if (type != "text") {
      throw fields.error("type", "Only parts of type \"text\" are supported.", "unsupported_content");
    }
    const auto part_text = fields.string("text");
    if (!part_text) throw fields.error("text", "A text part needs its 'text'.", "missing_required_parameter");
    text += (index > 1 ? "\n" : "") + *part_text;
  }
  return text;
}

std::string read_content(RequestFields& fields) {
  const json* content = fields.value("content");
  if (!content)
    throw fields.error("content", "Each message needs a 'content'.", "missing_required_parameter");
  if (content->is_string()) return content->get<std::string>();
  if (content->is_array() && !content->empty()) {
    return read_text_parts(*content, fields.path() + "content");
  }
  throw fields.error("content", "'content' must be a string or an array of text parts.", "invalid_type");
}

// What the template gets to see of a message.
json read_message(const json& message, std::size_t index) {
  const std::string name = fmt::format("messages[{}]", index);
  if (!message.is_object()) throw bad_request("'" + name + "' must be an object.", name, "invalid_type");
  RequestFields fields(message, name + ".");
  const auto role = fields.string("role");
  if (!role) throw fields.error("role", "Each message needs a 'role'.", "missing_required_parameter");
  if (std::find(kRoles.begin(), kRoles.end(), *role) == kRoles.end()) {
    throw fields.error("role", "'role' must be system, developer, user or assistant.");
  }
  fields.refuse({"tool_calls", "tool_call_id", "function_call", "audio", "refusal"});
  json read = {{"role", *role}, {"content", read_content(fields)}};
  if (const auto author = fields.string("name")) read["name"] = *author;
  return read;
}

// A string that no text of the messages contains.
std::string choose_mark(const json& messages) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  for (;;) {
    std::string mark = fmt::format("\uE000{:016x}\uE001", random());
    const auto contains_mark = [&](const json& text) {
      return text.get_ref<const std::string&>().find(mark) != std::string::npos;
    };
    const bool taken = std::any_of(messages.begin(), messages.end(), [&](const json& message) {
      return std::any_of(message.begin(), message.end(), contains_mark);
    });
    if (!taken) return mark;
  }
}

}  // namespace

std::string mark_names(std::string_view text, const std::vector<std::string>& names, std::string_view mark) {
  std::array<bool, 256> begins_name = {};
  for (const std::string& name : names) {
    if (!name.empty()) begins_name[static_cast<unsigned char>(name.front())] = true;
  }
  std::string marked;
  marked.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    const bool is_name = begins_name[static_cast<unsigned char>(rest.front())] &&
                         std::any_of(names.begin(), names.end(), [&](const std::string& name) {
                           return !name.empty() && rest.starts_with(name);
                         });
    const std::size_t length = is_name ? first_character(rest).length : 1;
    marked += rest.substr(0, length);
    if (is_name) marked += mark;
    i += length;
  }
  return marked;
}

std::string mark_literal(std::string_view text, const Tokenizer& tokenizer, std::string_view mark) {
  std::string marked = mark_names(text, tokenizer.special_token_names(), mark);
  if (!tokenizer.hides_special_names(marked)) return marked;
  // Normalizing would make a name of what is none yet, in ways too many to tell: no two characters stay
  // together.
  const std::string valid = to_valid_utf8(text);
  marked.clear();
  for (std::size_t at = 0; at < valid.size();) {
    append_utf8(marked, next_character(valid, at));
    marked += mark;
  }
  return marked;
}

std::vector<TokenId> read_chat_prompt(RequestFields& fields, bool add_generation_prompt,
                                      const Service& service) {
  const json* messages = fields.array("messages");
  if (!messages) throw fields.error("messages", "'messages' is missing.", "missing_required_parameter");
  if (messages->empty()) throw fields.error("messages", "'messages' must not be empty.");
  json read = json::array();
  for (const json& message : *messages) read.push_back(read_message(message, read.size()));

  const std::string mark = choose_mark(read);
  for (json& message : read) {
    for (const char* key : {"content", "name"}) {
      if (!message.contains(key)) continue;
      auto& text = message[key].get_ref<std::string&>();
      text = mark_literal(text, service.tokenizer, mark);
    }
  }
  try {
    const std::string rendered = service.chat_template.render(read, add_generation_prompt);
    return encode_text(service.tokenizer, rendered, {.add_special_tokens = false, .literal_mark = mark},
                       "messages");
  } catch (const TemplateError& error) {
    throw fields.error("messages", std::string("The chat template refuses these messages: ") + error.what());
  }
}

}  // namespace sinkstream
