#include "text/chat/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/chat/content_forms.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/syntax/parser.h"
#include "text/jinja/values/error.h"
#include "text/jinja/values/strings.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxJsonDepth = 150;  // of what a client sends into a template

// Put after the content that is to be continued, to find it again in the text.
constexpr std::string_view kContinueMark = "\uE002CONTINUE\uE003 ";

// Names of a message's reasoning; templates know the first, or the second.
constexpr const char* kReasoningFields[] = {"reasoning_content", "thinking", "reasoning"};

jinja::Value to_value(const Json& json, int depth = 0) {
  if (depth > kMaxJsonDepth) throw TemplateError("the messages or tools are nested too deeply");
  if (json.is_array()) {
    std::vector<jinja::Value> items;
    for (const Json& item : json) items.push_back(to_value(item, depth + 1));
    return jinja::Value::list(std::move(items));
  }
  if (json.is_object()) {
    auto mapping = std::make_shared<jinja::Mapping>();
    for (const auto& [key, value] : json.items())
      mapping->set(to_valid_utf8(key), to_value(value, depth + 1));
    return std::shared_ptr<const jinja::Mapping>(std::move(mapping));
  }
  if (json.is_string()) return to_valid_utf8(json.get_ref<const std::string&>());
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX) return json.get<double>();
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number_float()) return json.get<double>();
  return jinja::Value();
}

// A message as the template sees it.
Json prepared(const Json& message, const ContentForms& forms) {
  if (!message.is_object()) return message;
  Json result = Json::object();
  const auto reasoning =
      std::find_if(std::begin(kReasoningFields), std::end(kReasoningFields),
                   [&](const char* name) { return !message.value(name, Json()).is_null(); });
  const bool reasons = reasoning != std::end(kReasoningFields);
  if (reasons && message.value("thinking", Json()).is_null()) result["thinking"] = message[*reasoning];
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) result[key] = value;
  }
  if (reasons) result["reasoning_content"] = message[*reasoning];
  forms.adapt(result);
  return result;
}

// The text of the last message that is to be continued.
std::string& text_to_continue(Json& messages) {
  if (!messages.empty() && messages.back().is_object() && messages.back().contains("content")) {
    Json& content = messages.back()["content"];
    if (content.is_string()) return content.get_ref<std::string&>();
    if (content.is_array() && !content.empty() && part_text(content.back()) != nullptr)
      return content.back()["text"].get_ref<std::string&>();
  }
  throw TemplateError("there is no text in the last message to continue");
}

// Ends the text where the continued content does; what the template took off its end stays off.
std::string cut_at_mark(std::string text) {
  const std::string_view bare = kContinueMark.substr(0, kContinueMark.size() - 1);
  const std::size_t at = text.rfind(bare);
  if (at == std::string::npos) throw TemplateError("the chat template leaves out the message to continue");
  const bool trimmed = text.compare(at, kContinueMark.size(), kContinueMark) != 0;
  text.resize(at);
  if (trimmed) text.resize(jinja::strip_right(text).size());
  return text;
}

jinja::Template parse(const std::string& source, const std::string& file) {
  try {
    return jinja::parse_template(to_valid_utf8(source));
  } catch (const jinja::Error& error) {
    throw StartupError(ExitCode::model,
                       file + ": chat template, line " + std::to_string(error.line()) + ": " + error.what());
  }
}

using Context = std::unordered_map<std::string, jinja::Value>;

// A few messages take no more; what a template does without end, it does in every probe.
constexpr jinja::Limits kProbeLimits{.steps = 100'000, .bytes = 16 << 20};

ContentForms find_content_forms(const jinja::Template& document, const Context& special_tokens) {
  const auto render = [&](const Json& messages, const Json* tools) -> std::optional<std::string> {
    Context context = special_tokens;
    context["messages"] = to_value(messages);
    context["tools"] = tools ? to_value(*tools) : jinja::Value();
    context["documents"] = jinja::Value();
    context["add_generation_prompt"] = true;
    try {
      return jinja::Interpreter(std::move(context), kProbeLimits, 0).render(document);
    } catch (const jinja::Error&) {
      return std::nullopt;
    }
  };
  return {render, document.loops_over_content ? ContentForm::as_sent : ContentForm::text};
}

// A template and what it takes.
struct Document {
  jinja::Template jinja;
  ContentForms content_forms;

  Document(const std::string& source, const std::string& file, const Context& special_tokens)
      : jinja(parse(source, file)), content_forms(find_content_forms(jinja, special_tokens)) {}
};

}  // namespace

struct ChatTemplate::State {
  const Document& document(bool has_tools) const { return has_tools && tool_use ? *tool_use : *usual; }

  TemplateSources sources;
  Context special_tokens;
  std::optional<Document> usual, tool_use;
};

ChatTemplate::ChatTemplate(const TemplateSources& sources) : state_(std::make_unique<State>()) {
  state_->sources = sources;
  for (const auto& [name, token] : sources.special_tokens)
    state_->special_tokens[name] = to_valid_utf8(token);
  state_->usual.emplace(sources.usual, sources.usual_file, state_->special_tokens);
  if (!sources.tool_use.empty())
    state_->tool_use.emplace(sources.tool_use, sources.tool_use_file, state_->special_tokens);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::load(const std::filesystem::path& model_directory) {
  return ChatTemplate(find_template(model_directory));
}

const TemplateSources& ChatTemplate::sources() const {
  return state_->sources;
}

bool ChatTemplate::shows_role(std::string_view role, bool has_tools) const {
  return state_->document(has_tools).content_forms.shows(role);
}

std::string ChatTemplate::render(const ChatInput& input) const {
  const bool has_tools = input.tools != nullptr && !input.tools->is_null();
  const Document& document = state_->document(has_tools);
  Json messages = Json::array();
  for (const Json& message : input.messages) messages.push_back(prepared(message, document.content_forms));
  if (input.continue_final_message) text_to_continue(messages) += kContinueMark;

  Context context = state_->special_tokens;
  if (input.variables) {
    for (const auto& [name, value] : input.variables->items()) context[to_valid_utf8(name)] = to_value(value);
  }
  context["messages"] = to_value(messages);
  context["tools"] = has_tools ? to_value(*input.tools) : jinja::Value();
  context.try_emplace("documents");
  context["add_generation_prompt"] = input.add_generation_prompt;
  try {
    std::string text = jinja::Interpreter(std::move(context), {}, input.now).render(document.jinja);
    return input.continue_final_message ? cut_at_mark(std::move(text)) : text;
  } catch (const jinja::Error& error) {
    throw TemplateError(std::string(error.what()) + " (chat template, line " + std::to_string(error.line()) +
                        ")");
  }
}

}  // namespace sinkstream
