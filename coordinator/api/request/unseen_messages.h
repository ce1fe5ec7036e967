// Messages that a chat template leaves out of the prompt: nothing of their text would reach the model.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream {

struct RenderedChat {
  const nlohmann::ordered_json& messages;
  const std::string& prompt;  // what `render` makes of them
  // May throw TemplateError.
  std::function<std::string(const nlohmann::ordered_json&)> render;
  // How a text of a message stands in the prompt where the template does not change it.
  std::function<std::string(std::string_view)> written;
  // Whether the template is known to show messages of a role; then a text that is found in the prompt is
  // seen.
  std::function<bool(const std::string&)> shows_role;
  std::size_t first = 0;  // those before were taken in earlier, and are not looked at
};

// Their indices, at most one a role. A template may trim, join, move or escape a text: only a message that
// can be exchanged for another without any change of the prompt is unseen.
std::vector<std::size_t> unseen_messages(const RenderedChat& chat);

}  // namespace sinkstream
