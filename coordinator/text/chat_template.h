// Renders messages with the model's own chat template.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>

namespace sinkstream {

// What the template itself raised, or what it could not do: the client's error (400), with the template's
// line.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// For models that bring no template: each message as "Role: text", the answer after "Assistant:".
extern const char* const kPlainFormat;

// Immutable after loading; any thread.
class ChatTemplate {
 public:
  // From chat_template.jinja, or else tokenizer_config.json's chat_template (of a list of named ones
  // "default", and "tool_use" for requests with tools); without one, kPlainFormat. The special tokens come
  // from tokenizer_config.json too. Throws StartupError (ExitCode::model) when the template cannot be parsed.
  static ChatTemplate load(const std::filesystem::path& model_directory);
  static ChatTemplate from_source(const std::string& source, const std::string& bos_token,
                                  const std::string& eos_token);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // messages: [{role, content, ...}]. The order of keys is kept: a template may print them. Bounded in time,
  // depth and output; throws TemplateError.
  std::string render(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                     const nlohmann::ordered_json* tools = nullptr) const;
  std::string render(const nlohmann::json& messages, bool add_generation_prompt,
                     const nlohmann::json* tools = nullptr) const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
