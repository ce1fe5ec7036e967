// Where a model's directory keeps its chat templates and special tokens.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json_field.h"
#include "base/text_file.h"
#include "text/chat/chat_template.h"

namespace sinkstream {
namespace {

namespace fs = std::filesystem;

struct Source {
  std::string text;
  std::string file;
};
using Sources = std::map<std::string, Source>;  // by name

// A link to nothing is there too: reading it is an error, not the absence of a file.
bool is_there(const fs::path& file) {
  return fs::exists(file) || fs::is_symlink(file);
}

constexpr std::uintmax_t kLargestTemplate = 16u << 20;

Sources template_files(const fs::path& directory) {
  Sources sources;
  const auto add = [&sources](const std::string& name, const fs::path& file) {
    if (auto text = read_text_file(file, kLargestTemplate)) sources[name] = {std::move(*text), file.string()};
  };
  const fs::path more = directory / "additional_chat_templates";
  if (fs::is_directory(more)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(more)) {
      if (entry.path().extension() == ".jinja") add(entry.path().stem(), entry.path());
    }
  }
  add("default", directory / "chat_template.jinja");
  return sources;
}

// A single template, or a list or mapping of them by name.
Sources named_templates(const JsonField& field, const std::string& file) {
  if (field.is_null()) return {};
  if (field.is_string()) return {{"default", {field.string(), file}}};
  Sources sources;
  if (field.is_array()) {
    for (const JsonField& entry : field.elements())
      sources[entry["name"].string()] = {entry["template"].string(), file};
  } else {
    for (const auto& [name, source] : field.members()) sources[name] = {source.string(), file};
  }
  if (!sources.contains("default")) field.fail("has no template named \"default\"");
  return sources;
}

bool is_token_name(std::string_view name) {
  return name.ends_with("_token") && !name.starts_with("add_");  // add_bos_token is a setting
}

// Tokens by name ("bos_token"), each its text or an object with its "content"; known ones stay.
void add_tokens(const JsonField& config, std::map<std::string, std::string>& tokens) {
  for (const auto& [name, field] : config.members()) {
    if (!is_token_name(name) || field.is_null() || tokens.contains(name)) continue;
    tokens[name] = field.is_string() ? field.string() : field["content"].string();
  }
}

}  // namespace

const char* const kPlainFormat =
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}\n\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

TemplateSources find_template(const fs::path& model_directory) {
  TemplateSources found;
  Sources sources = template_files(model_directory);
  const auto add = [&sources](const JsonField& config, const fs::path& file) {
    sources.merge(named_templates(config["chat_template"], file.string()));  // those that are there stay
  };
  const fs::path config_file = model_directory / "tokenizer_config.json";
  const fs::path tokens_file = model_directory / "special_tokens_map.json";
  if (is_there(config_file)) {
    const JsonField config = JsonField::read_file(config_file);
    add_tokens(config, found.special_tokens);
    add(config, config_file);
  }
  if (is_there(tokens_file)) {
    add_tokens(JsonField::read_file(tokens_file), found.special_tokens);
  } else if (!is_there(config_file)) {
    // Nothing is known of them; a template that adds them to a text still works.
    found.special_tokens = {{"bos_token", ""}, {"eos_token", ""}};
  }
  if (const fs::path file = model_directory / "chat_template.json"; is_there(file) && sources.empty())
    add(JsonField::read_file(file), file);

  Source& usual = sources["default"];
  if (usual.file.empty()) usual.text = kPlainFormat;
  found.usual = usual.text;
  found.usual_file = usual.file;
  if (const auto tool_use = sources.find("tool_use"); tool_use != sources.end()) {
    found.tool_use = tool_use->second.text;
    found.tool_use_file = tool_use->second.file;
  }
  return found;
}

}  // namespace sinkstream
