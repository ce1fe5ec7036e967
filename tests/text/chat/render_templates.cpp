// Renders chat templates for tools/check_templates.py: one JSON object a line in, one a line out.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "text/chat/chat_template.h"

namespace sinkstream {
namespace {

using Json = nlohmann::ordered_json;

// {"template", "special_tokens", "messages", "tools", "add_generation_prompt", "continue_final_message",
// "now"} gives {"text"} or {"error"}.
Json rendered(const Json& request) {
  TemplateSources sources;
  sources.usual = request.at("template").get<std::string>();
  sources.usual_file = "the given text";
  for (const auto& [name, token] : request.at("special_tokens").items())
    sources.special_tokens[name] = token.get<std::string>();
  try {
    const ChatTemplate chat(sources);
    const std::string text = chat.render({.messages = request.at("messages"),
                                          .tools = &request.at("tools"),
                                          .add_generation_prompt = request.at("add_generation_prompt"),
                                          .continue_final_message = request.at("continue_final_message"),
                                          .now = request.at("now")});
    return {{"text", text}};
  } catch (const TemplateError& error) {
    return {{"error", error.what()}};
  } catch (const StartupError& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace sinkstream

int main() {
  for (std::string line; std::getline(std::cin, line);)
    std::cout << sinkstream::rendered(nlohmann::ordered_json::parse(line)).dump() << std::endl;
}
