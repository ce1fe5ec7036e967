#include "coordinator/api/request/chat_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <utility>

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

// Messages, of which those from `first` on are new, and how they were rendered.
RenderedChat rendered_chat(const History& history, std::size_t first, bool has_tools, const Render& render,
                           const std::string& mark, const ApiContext& api) {
  return {
      .messages = history.messages,
      .prompt = history.prompt,
      .render = render,
      .written = [&](std::string_view text) { return mark_literal(text, api.tokenizer, mark); },
      .shows_role = [&api, has_tools](
                        const std::string& role) { return api.chat_template.shows_role(role, has_tools); },
      .first = first};
}

// Instructions that the model would not get are refused. A conversation that began elsewhere goes on without
// what this model's template has no place for.
void complain_of_unseen(const RenderedChat& chat, const RequestFields& fields, ApiContext& api,
                        Exchange& exchange) {
  for (const std::size_t unseen : unseen_messages(chat)) {
    const std::string role = chat.messages[unseen]["role"];
    const std::size_t index = unseen - chat.first;
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

// ---- what a turn adds to a session

using RenderWith = std::function<std::string(const json& messages, bool generation)>;

void append(json& messages, const json& more) {
  for (const json& message : more) messages.push_back(message);
}

json since_last_user(const json& messages) {
  std::size_t first = messages.size();
  while (first > 0 && messages[first - 1]["role"] != "user") --first;
  json recent = json::array();
  for (std::size_t i = first == 0 ? 0 : first - 1; i < messages.size(); ++i) recent.push_back(messages[i]);
  return recent;
}

// What stands before and behind the only occurrence of `place`; nothing if there is not just one.
std::optional<std::pair<std::string, std::string>> cut_at(const std::string& text, const std::string& place) {
  const std::size_t at = text.find(place);
  if (at == text.npos || text.find(place, at + 1) != text.npos) return std::nullopt;
  return std::pair(text.substr(0, at), text.substr(at + place.size()));
}

struct AddedText {
  std::string text;
  bool rewritten = false;
};

// What the template writes behind the first `num_before` messages. Their last content is exchanged for a
// mark, so that its place is known whatever the template makes of texts. An answer's message is not ended
// yet; that of others is.
std::optional<AddedText> text_behind(const History& history, std::size_t num_before, bool answering,
                                     const std::string& place, const RenderWith& render, bool generation) {
  json messages = history.messages;
  json before = json::array();
  for (std::size_t i = 0; i < num_before; ++i) before.push_back(messages[i]);
  const std::string content = text_of(before.back());
  messages[num_before - 1]["content"] = place;
  before.back()["content"] = place;
  try {
    const auto whole = cut_at(render(messages, generation), place);
    const auto ended = cut_at(render(before, false), place);
    if (!whole || !ended) return std::nullopt;
    AddedText added{.text = whole->second, .rewritten = whole->first != ended->first};
    // The content as the template writes it: trimmed, or without parts of it, when something follows.
    added.rewritten = added.rewritten || !history.prompt.starts_with(whole->first) ||
                      !history.prompt.ends_with(whole->second);
    if (!answering) {
      const auto [theirs, ours] = std::ranges::mismatch(ended->second, added.text);
      added.rewritten = added.rewritten || theirs != ended->second.end();
      added.text.erase(added.text.begin(), ours);
    } else if (!added.rewritten) {
      const std::size_t written = history.prompt.size() - whole->first.size() - whole->second.size();
      added.rewritten = written < content.size();  // with marks in it, it may be longer
    }
    return added;
  } catch (const TemplateError&) {
    return std::nullopt;
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
  complain_of_unseen(rendered_chat(history, 0, tools != nullptr, render, mark, api), fields, api, exchange);
  std::vector<TokenId> tokens =
      encode_text(api, history.prompt, {.add_special_tokens = false, .literal_mark = mark}, "messages");
  begin_with_sink(tokens, api.engine.limits());
  return tokens;
}

ChatTurn read_chat_turn(RequestFields& fields, const ChatBefore& before, bool answers, ApiContext& api,
                        Exchange& exchange) {
  for (const char* name : {"add_generation_prompt", "continue_final_message"}) {
    if (fields.value(name)) {
      throw fields.error(name, fmt::format("'{}' does not go with a session.", name),
                         "unsupported_parameter");
    }
  }
  const std::string mark = choose_mark();
  const std::string place = choose_mark();  // of the text that the session has taken in last
  json added = read_messages(fields);
  name_system(added, api.chat_template, /*has_tools=*/false);
  const json variables = marked(read_template_variables(fields), api.tokenizer, mark);
  const auto render_with = [&](const json& messages, bool generation) {
    const json shown = marked(messages, api.tokenizer, mark);
    return api.chat_template.render(
        {.messages = shown, .variables = &variables, .add_generation_prompt = generation});
  };
  const auto render = [&](const json& messages) { return render_with(messages, answers); };

  json all = before.pinned;
  append(all, before.recent);
  if (before.answering) all.push_back({{"role", "assistant"}, {"content", before.answer}});
  const std::size_t num_before = all.size();
  append(all, added);
  const History history = render_history(all, render, fields);
  complain_of_unseen(rendered_chat(history, num_before, /*has_tools=*/false, render, mark, api), fields, api,
                     exchange);
  std::string text = history.prompt;
  if (num_before > 0) {
    const auto added_text = text_behind(history, num_before, before.answering, place, render_with, answers);
    if (!added_text) {
      throw fields.error("messages",
                         "The chat template does not write these messages behind those that the session has; "
                         "go on with /v1/completions, whose prompts are taken as they are.",
                         "unsupported_content");
    }
    if (added_text->rewritten) {
      api.warnings.give(
          exchange,
          "the chat template now writes earlier messages otherwise than the session has taken them "
          "in: the session keeps what it has");
    }
    text = added_text->text;
  }
  ChatTurn turn;
  turn.tokens = encode_text(api, text, {.add_special_tokens = false, .literal_mark = mark}, "messages");
  json recent = before.recent;
  if (before.answering) recent.push_back({{"role", "assistant"}, {"content", before.answer}});
  append(recent, added);
  turn.recent = since_last_user(recent);
  return turn;
}

std::vector<TokenId> pinned_tokens(const json& messages, const RequestFields& fields, ApiContext& api,
                                   Exchange& exchange) {
  const std::string mark = choose_mark();
  const auto render = [&](const json& history, bool generation) {
    const json shown = marked(history, api.tokenizer, mark);
    return api.chat_template.render({.messages = shown, .add_generation_prompt = generation});
  };
  const Render render_alone = [&](const json& history) { return render(history, false); };
  const History alone = render_history(messages, render_alone, fields);
  complain_of_unseen(rendered_chat(alone, 0, /*has_tools=*/false, render_alone, mark, api), fields, api,
                     exchange);
  json more = alone.messages;
  more.push_back({{"role", "user"}, {"content", "x"}});
  bool is_prefix = true;
  try {
    is_prefix = render(more, true).starts_with(alone.prompt);
  } catch (const TemplateError&) {  // perhaps something else may follow
  }
  if (!is_prefix) {
    throw fields.error(
        "messages",
        "The chat template writes these messages otherwise when a user's message follows, so they "
        "cannot begin a session; send them with the first turn.",
        "unsupported_content");
  }
  std::vector<TokenId> tokens =
      encode_text(api, alone.prompt, {.add_special_tokens = false, .literal_mark = mark}, "messages");
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
