#include "coordinator/api/chat_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "coordinator/api/chat_messages.h"
#include "coordinator/text/utf8.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

// Nobody can guess it, so no text of a client contains it; decimal digits have no upper case.
std::string choose_mark() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("\uE000{:020}\uE001", random());
}

// Every string in `value`, keys too. Roles stay as they are: they were checked, and templates compare them.
json marked(const json& value, const Tokenizer& tokenizer, std::string_view mark) {
  if (value.is_string()) return mark_literal(value.get_ref<const std::string&>(), tokenizer, mark);
  if (value.is_array()) {
    json result = json::array();
    for (const json& item : value) result.push_back(marked(item, tokenizer, mark));
    return result;
  }
  if (!value.is_object()) return value;
  json result = json::object();
  auto& members = result.get_ref<json::object_t&>();
  for (const auto& [key, member] :
       value.items())  // appended as they are: operator[] would search all of them
    members.emplace_back(mark_literal(key, tokenizer, mark), marked(member, tokenizer, mark));
  return result;
}

bool read_add_generation_prompt(RequestFields& fields, bool continues) {
  const auto given = fields.boolean("add_generation_prompt");
  if (continues && given.value_or(false)) {
    throw fields.error("add_generation_prompt",
                       "'add_generation_prompt' and 'continue_final_message' exclude each other.");
  }
  return given.value_or(!continues);
}

// What the template calls by these names is given by fields of their own.
constexpr std::array<std::string_view, 6> kReservedVariables = {
    "messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template", "tokenize"};

// `chat_template_kwargs`, and `reasoning_effort` unless it is among them.
json read_template_variables(RequestFields& fields) {
  const auto effort = fields.string("reasoning_effort");
  json variables = json::object();
  if (fields.object("chat_template_kwargs")) variables = *fields.value("chat_template_kwargs");
  for (const std::string_view name : kReservedVariables) {
    if (variables.contains(name)) {
      throw fields.error("chat_template_kwargs",
                         fmt::format("'chat_template_kwargs' cannot set '{}'.", name));
    }
  }
  if (effort && !variables.contains("reasoning_effort")) variables["reasoning_effort"] = *effort;
  return variables;
}

// What the template makes of the messages in the first form that it takes. If there is none, the error is
// what it says of the usual one.
std::string render_history(const json& messages, const std::function<std::string(const json&)>& render,
                           const RequestFields& fields) {
  std::vector<json> tried;
  std::string refusal;
  for (const HistoryForm& form : kHistoryForms) {
    tried.push_back(in_form(messages, form));
    if (std::find(tried.begin(), tried.end() - 1, tried.back()) != tried.end() - 1) continue;
    try {
      return render(tried.back());
    } catch (const TemplateError& error) {
      if (refusal.empty()) refusal = error.what();
    }
  }
  throw fields.error("messages", "The chat template refuses these messages: " + refusal);
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

std::vector<TokenId> read_chat_prompt(RequestFields& fields, const json* tools, const Service& service) {
  const Tokenizer& tokenizer = service.tokenizer;
  const std::string mark = choose_mark();
  const json as_sent = read_messages(fields);
  const json marked_tools = tools ? marked(*tools, tokenizer, mark) : json();
  const json variables = marked(read_template_variables(fields), tokenizer, mark);
  const bool continues = fields.boolean("continue_final_message").value_or(false);
  const bool add_generation_prompt = read_add_generation_prompt(fields, continues);

  const auto render = [&](const json& history) {
    const json messages = marked(history, tokenizer, mark);
    return service.chat_template.render({.messages = messages,
                                         .tools = tools ? &marked_tools : nullptr,
                                         .variables = &variables,
                                         .add_generation_prompt = add_generation_prompt,
                                         .continue_final_message = continues});
  };
  const std::string text = render_history(as_sent, render, fields);
  std::vector<TokenId> tokens =
      encode_text(service, text, {.add_special_tokens = false, .literal_mark = mark}, "messages");
  begin_with_sink(tokens, service.engine.limits());
  return tokens;
}

}  // namespace sinkstream
