#include "coordinator/text/chat_template.h"

#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "coordinator/text/jinja/error.h"
#include "coordinator/text/jinja/interpreter.h"
#include "coordinator/text/jinja/parser.h"
#include "coordinator/text/json_field.h"
#include "coordinator/text/utf8.h"
#include "worker/error.h"

namespace sinkstream {
namespace {

constexpr int kMaxJsonDepth = 150;  // of what a client sends into a template

// Names of the special tokens that a template may use.
constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                          "sep_token", "cls_token", "mask_token"};

template <typename Json>
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
  if (json.is_string()) return to_valid_utf8(json.template get_ref<const std::string&>());
  if (json.is_boolean()) return json.template get<bool>();
  if (json.is_number_unsigned() && json.template get<std::uint64_t>() > INT64_MAX)
    return json.template get<double>();
  if (json.is_number_integer()) return json.template get<std::int64_t>();
  if (json.is_number_float()) return json.template get<double>();
  return jinja::Value();
}

jinja::Template parse(const std::string& source, const std::string& where) {
  try {
    return jinja::parse_template(to_valid_utf8(source));
  } catch (const jinja::Error& error) {
    throw StartupError(ExitCode::model,
                       where + ": chat template, line " + std::to_string(error.line()) + ": " + error.what());
  }
}

std::optional<std::string> read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

// A token is written as its text or as an object with its "content".
std::string token_text(const JsonField& field) {
  if (field.is_null()) return {};
  return field.is_string() ? field.string() : field["content"].string_or("");
}

// Templates by name; a single one is the "default".
std::map<std::string, std::string> named_templates(const JsonField& field) {
  if (field.is_null()) return {};
  if (field.is_string()) return {{"default", field.string()}};
  std::map<std::string, std::string> templates;
  for (const JsonField& entry : field.elements())
    templates[entry["name"].string()] = entry["template"].string();
  if (!templates.contains("default")) field.fail("has no template named \"default\"");
  return templates;
}

}  // namespace

const char* const kPlainFormat =
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}\n\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

struct ChatTemplate::State {
  jinja::Template usual;
  std::optional<jinja::Template> with_tools;
  std::unordered_map<std::string, jinja::Value> special_tokens;

  template <typename Json>
  std::string render(const Json& messages, bool add_generation_prompt, const Json* tools) const {
    std::unordered_map<std::string, jinja::Value> context = special_tokens;
    context["messages"] = to_value(messages);
    context["tools"] = tools == nullptr ? jinja::Value() : to_value(*tools);
    context["documents"] = jinja::Value();
    context["add_generation_prompt"] = add_generation_prompt;
    const bool needs_tools = tools != nullptr && !tools->is_null();
    try {
      return jinja::Interpreter(std::move(context), {})
          .render(needs_tools && with_tools ? *with_tools : usual);
    } catch (const jinja::Error& error) {
      throw TemplateError(std::string(error.what()) + " (chat template, line " +
                          std::to_string(error.line()) + ")");
    }
  }
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::load(const std::filesystem::path& model_directory) {
  const std::filesystem::path config_file = model_directory / "tokenizer_config.json";
  const std::filesystem::path template_file = model_directory / "chat_template.jinja";
  auto state = std::make_unique<State>();
  for (const char* name : kSpecialTokens) state->special_tokens[name] = jinja::Value("");

  std::map<std::string, std::string> templates;
  if (std::filesystem::exists(config_file)) {
    const JsonField config = JsonField::read_file(config_file);
    for (const char* name : kSpecialTokens) state->special_tokens[name] = token_text(config[name]);
    templates = named_templates(config["chat_template"]);
  }
  std::string where = config_file.string();
  if (const std::optional<std::string> source = read_text(template_file)) {
    templates = {{"default", *source}};
    where = template_file.string();
  }
  state->usual = parse(templates.empty() ? kPlainFormat : templates["default"], where);
  if (templates.contains("tool_use")) state->with_tools = parse(templates["tool_use"], where);
  return ChatTemplate(std::move(state));
}

ChatTemplate ChatTemplate::from_source(const std::string& source, const std::string& bos_token,
                                       const std::string& eos_token) {
  auto state = std::make_unique<State>();
  state->special_tokens["bos_token"] = bos_token;
  state->special_tokens["eos_token"] = eos_token;
  state->usual = parse(source, "the given text");
  return ChatTemplate(std::move(state));
}

std::string ChatTemplate::render(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                                 const nlohmann::ordered_json* tools) const {
  return state_->render(messages, add_generation_prompt, tools);
}

std::string ChatTemplate::render(const nlohmann::json& messages, bool add_generation_prompt,
                                 const nlohmann::json* tools) const {
  return state_->render(messages, add_generation_prompt, tools);
}

}  // namespace sinkstream
