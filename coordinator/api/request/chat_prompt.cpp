#include "coordinator/api/request/chat_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "coordinator/api/request/chat_messages.h"
#include "coordinator/api/request/unseen_messages.h"
#include "coordinator/api/served_model.h"
#include "text/unicode/utf8.h"

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

using Render = std::function<std::string(const json&)>;

struct History {
  json messages;
  std::string prompt;
};

// The messages in the first form that the template takes, and what it makes of them. If there is none, the
// error is what it says of the usual one.
History render_history(const json& messages, const Render& render, const RequestFields& fields) {
  std::vector<json> tried;
  std::string refusal;
  for (const HistoryForm& form : kHistoryForms) {
    tried.push_back(in_form(messages, form));
    if (std::find(tried.begin(), tried.end() - 1, tried.back()) != tried.end() - 1) continue;
    try {
      std::string prompt = render(tried.back());
      return {std::move(tried.back()), std::move(prompt)};
    } catch (const TemplateError& error) {
      if (refusal.empty()) refusal = error.what();
    }
  }
  throw fields.error("messages", "The chat template refuses these messages: " + refusal);
}

// `developer` is the newer name of `system`, which is the one that most templates know.
void name_system(json& messages, const ChatTemplate& chat_template, bool has_tools) {
  if (chat_template.shows_role("developer", has_tools) || !chat_template.shows_role("system", has_tools))
    return;
  for (json& message : messages) {
    if (message["role"] == "developer") message["role"] = "system";
  }
}

// Instructions that the model would not get are refused. A conversation that began elsewhere goes on without
// what this model's template has no place for.
void complain_of_unseen(const RenderedChat& chat, const RequestFields& fields, ApiContext& api,
                        Exchange& exchange) {
  for (const std::size_t index : unseen_messages(chat)) {
    const std::string role = chat.messages[index]["role"];
    if (role == "system" || role == "developer") {
      throw fields.error(
          fmt::format("messages[{}]", index),
          fmt::format("The model's chat template leaves out messages[{}], of role '{}': the model would not "
                      "get it. Put its text into a user's message.",
                      index, role),
          "unsupported_content");
    }
    api.warnings.give(
        exchange, fmt::format("the model's chat template leaves out a message of role {}: the model does not "
                              "get it",
                              role));
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

std::vector<TokenId> read_chat_prompt(RequestFields& fields, const json* tools, ApiContext& api,
                                      Exchange& exchange) {
  const Tokenizer& tokenizer = api.tokenizer;
  const std::string mark = choose_mark();
  json as_sent = read_messages(fields);
  name_system(as_sent, api.chat_template, tools != nullptr);
  const json marked_tools = tools ? marked(*tools, tokenizer, mark) : json();
  const json variables = marked(read_template_variables(fields), tokenizer, mark);
  const bool continues = fields.boolean("continue_final_message").value_or(false);
  const bool add_generation_prompt = read_add_generation_prompt(fields, continues);
  const std::time_t now = std::time(nullptr);

  const Render render = [&](const json& history) {
    const json messages = marked(history, tokenizer, mark);
    return api.chat_template.render({.messages = messages,
                                     .tools = tools ? &marked_tools : nullptr,
                                     .variables = &variables,
                                     .add_generation_prompt = add_generation_prompt,
                                     .continue_final_message = continues,
                                     .now = now});
  };
  const History history = render_history(as_sent, render, fields);
  complain_of_unseen(
      {.messages = history.messages,
       .prompt = history.prompt,
       .render = render,
       .written = [&](std::string_view text) { return mark_literal(text, tokenizer, mark); },
       .shows_role =
           [&](const std::string& role) { return api.chat_template.shows_role(role, tools != nullptr); }},
      fields, api, exchange);
  std::vector<TokenId> tokens =
      encode_text(api, history.prompt, {.add_special_tokens = false, .literal_mark = mark}, "messages");
  begin_with_sink(tokens, api.engine.limits());
  return tokens;
}

std::vector<TokenId> newest_answer_tokens(RequestFields& fields, std::int64_t count, const ApiContext& api) {
  const std::string mark = choose_mark();
  const json messages = read_messages(fields);
  std::vector<TokenId> newest;  // the last first
  for (auto message = messages.rbegin(); message != messages.rend() && std::ssize(newest) < count;
       ++message) {
    if (message->at("role") != "assistant") continue;
    const std::string text = mark_literal(text_of(*message), api.tokenizer, mark);
    const auto tokens =
        encode_text(api, text, {.add_special_tokens = false, .literal_mark = mark}, "messages");
    const auto taken = std::min(std::ssize(tokens), count - std::ssize(newest));
    newest.insert(newest.end(), tokens.rbegin(), tokens.rbegin() + taken);
  }
  std::ranges::reverse(newest);
  return newest;
}

}  // namespace sinkstream
