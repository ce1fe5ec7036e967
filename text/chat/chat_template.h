// Renders messages with the model's own chat template, as `transformers`' apply_chat_template does.
#pragma once

#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sinkstream {

// What the template itself raised, or what it could not do: the client's error (400), with the template's
// line.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// For models that bring no template: each message as "Role: text", the answer after "Assistant:".
extern const char* const kPlainFormat;

// What a template is made of: its Jinja source, one for requests with tools if there is such a one, and the
// special tokens that it may name ("bos_token" and the like). A token that the model lacks is not in the map;
// without any file that says, the begin and the end token are empty texts.
struct TemplateSources {
  std::string usual;
  std::string usual_file;  // for complaints
  std::string tool_use;    // empty: the usual one
  std::string tool_use_file;
  std::map<std::string, std::string> special_tokens;
};

// Looks, as `transformers` does, into chat_template.jinja and additional_chat_templates/*.jinja, then
// tokenizer_config.json, which may have several by name; then into chat_template.json, which processors
// write. None of them: kPlainFormat. Tokens are tokenizer_config.json's, then special_tokens_map.json's.
// Throws StartupError (ExitCode::model) naming file and field.
TemplateSources find_template(const std::filesystem::path& model_directory);

struct ChatInput {
  // [{role, content, ...}]; keys keep their order, for a template may print them. Keys whose value is null
  // count as absent. A content goes to the template in the form that it takes from that role: a string or
  // text parts (joined by line feeds).
  const nlohmann::ordered_json& messages;
  const nlohmann::ordered_json* tools = nullptr;
  const nlohmann::ordered_json* variables = nullptr;  // more names for the template, by name
  bool add_generation_prompt = true;
  bool continue_final_message = false;   // the text ends where the last message's content does
  std::time_t now = std::time(nullptr);  // what strftime_now shows, in local time
};

// Immutable after loading; any thread.
class ChatTemplate {
 public:
  static ChatTemplate load(const std::filesystem::path& model_directory);
  // Throws StartupError (ExitCode::model) when a template cannot be parsed.
  explicit ChatTemplate(const TemplateSources& sources);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // Bounded in time, depth and output; throws TemplateError.
  std::string render(const ChatInput& input) const;

  // Whether messages of a role are known to be shown, in some plausible conversation.
  bool shows_role(std::string_view role, bool has_tools) const;

  const TemplateSources& sources() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
