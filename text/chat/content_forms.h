// In which form a chat template takes the content of each role's messages: found out by rendering probes.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace sinkstream {

enum class ContentForm {
  as_sent,   // a string as well as a list of text parts
  text,      // a string
  parts,     // a list of text parts
  one_part,  // a list of one text part: the template reads no other
};

class ContentForms {
 public:
  // Renders messages and tools (may be null); nothing when the template raises.
  using Render =
      std::function<std::optional<std::string>(const nlohmann::ordered_json&, const nlohmann::ordered_json*)>;

  // Of each role, in a conversation around it, a string and lists are tried. The form that shows whole and
  // not as a printed list is the one; `otherwise` where none does (the template raises, or leaves the role
  // out).
  ContentForms(const Render& render, ContentForm otherwise);

  // The content of a message, in the form for its role. Contents that are neither a string nor text parts
  // stay as they are.
  void adapt(nlohmann::ordered_json& message) const;

  // Whether the role's contents were seen in the prompt, in any form.
  bool shows(std::string_view role) const { return forms_.contains(role); }

 private:
  ContentForm form_of(const nlohmann::ordered_json& message) const;

  ContentForm otherwise_;
  std::map<std::string, ContentForm, std::less<>> forms_;  // by role
};

// The text of a part; nothing for what is none.
const std::string* part_text(const nlohmann::ordered_json& part);

}  // namespace sinkstream
