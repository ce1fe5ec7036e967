#include "coordinator/text/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "coordinator/text/jinja/error.h"
#include "coordinator/text/jinja/interpreter.h"
#include "coordinator/text/jinja/parser.h"
#include "coordinator/text/jinja/strings.h"
#include "coordinator/text/utf8.h"
#include "worker/error.h"

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

// The text of a part; nothing for a part that is none.
const std::string* part_text(const Json& part) {
  if (!part.is_object()) return nullptr;
  const auto text = part.find("text");
  return text != part.end() && text->is_string() ? &text->get_ref<const std::string&>() : nullptr;
}

void join_parts(Json& content) {
  if (!content.is_array() || content.empty()) return;
  if (!std::all_of(content.begin(), content.end(), part_text)) return;
  std::string text;
  for (const Json& part : content)
    text += (text.empty() && &part == &content[0] ? "" : "\n") + *part_text(part);
  content = std::move(text);
}

// A message as the template sees it.
Json prepared(const Json& message, bool template_takes_parts) {
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
  if (result.contains("content") && !template_takes_parts) join_parts(result["content"]);
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

}  // namespace

struct ChatTemplate::State {
  TemplateSources sources;
  jinja::Template usual;
  std::optional<jinja::Template> tool_use;
  std::unordered_map<std::string, jinja::Value> special_tokens;
};

ChatTemplate::ChatTemplate(const TemplateSources& sources) : state_(std::make_unique<State>()) {
  state_->sources = sources;
  state_->usual = parse(sources.usual, sources.usual_file);
  if (!sources.tool_use.empty()) state_->tool_use = parse(sources.tool_use, sources.tool_use_file);
  for (const auto& [name, token] : sources.special_tokens)
    state_->special_tokens[name] = to_valid_utf8(token);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::load(const std::filesystem::path& model_directory) {
  return ChatTemplate(find_template(model_directory));
}

const TemplateSources& ChatTemplate::sources() const {
  return state_->sources;
}

std::string ChatTemplate::render(const ChatInput& input) const {
  const bool has_tools = input.tools != nullptr && !input.tools->is_null();
  const jinja::Template& document = has_tools && state_->tool_use ? *state_->tool_use : state_->usual;
  Json messages = Json::array();
  for (const Json& message : input.messages)
    messages.push_back(prepared(message, document.loops_over_content));
  if (input.continue_final_message) text_to_continue(messages) += kContinueMark;

  std::unordered_map<std::string, jinja::Value> context = state_->special_tokens;
  context["messages"] = to_value(messages);
  context["tools"] = has_tools ? to_value(*input.tools) : jinja::Value();
  context["documents"] = jinja::Value();
  context["add_generation_prompt"] = input.add_generation_prompt;
  try {
    std::string text = jinja::Interpreter(std::move(context), {}, input.now).render(document);
    return input.continue_final_message ? cut_at_mark(std::move(text)) : text;
  } catch (const jinja::Error& error) {
    throw TemplateError(std::string(error.what()) + " (chat template, line " + std::to_string(error.line()) +
                        ")");
  }
}

}  // namespace sinkstream
