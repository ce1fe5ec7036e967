#include "text/chat/content_forms.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace sinkstream {
namespace {

using Json = nlohmann::ordered_json;

// Digits, which no filter changes. The key shows only where a part itself is printed, which is no text for
// the model.
constexpr std::string_view kFirstProbe = "70415926", kSecondProbe = "81527364";
constexpr const char* kPartKey = "part90358271";

Json text_part(std::string_view text) {
  return {{"type", "text"}, {"text", std::string(text)}};
}

Json probe_part(std::string_view text) {
  Json part = text_part(text);
  part[kPartKey] = true;
  return part;
}

Json string_probe() {
  return std::string(kFirstProbe) + " " + std::string(kSecondProbe);
}

Json parts_probe() {
  return Json::array({probe_part(kFirstProbe), probe_part(kSecondProbe)});
}

Json one_part_probe() {
  return Json::array({probe_part(string_probe().get_ref<const std::string&>())});
}

bool shows_whole(const std::string& text) {
  return text.find(kFirstProbe) != text.npos && text.find(kSecondProbe) != text.npos &&
         text.find(kPartKey) == text.npos;
}

Json message(const char* role, Json content) {
  return {{"role", role}, {"content", std::move(content)}};
}

// Nine letters and digits: some templates take no other id.
constexpr const char* kCallId = "probe1234";

Json call(Json arguments) {
  Json result = message("assistant", "");
  result["tool_calls"] =
      Json::array({{{"id", kCallId},
                    {"type", "function"},
                    {"function", {{"name", "look"}, {"arguments", std::move(arguments)}}}}});
  return result;
}

const Json& probe_tools() {
  static const Json tools = Json::parse(R"([{"type": "function", "function": {"name": "look",
      "description": "Looks.", "parameters": {"type": "object", "required": ["at"],
      "properties": {"at": {"type": "string", "description": "What."}}}}}])");
  return tools;
}

// Plausible conversations around a message, for templates that demand an order.
std::vector<Json> conversations(const std::string& role, const Json& probe) {
  const Json user = message("user", "q");
  const Json alone = Json::array({probe});  // to Clang {probe} would be a copy of it
  if (role == "user") return {alone, {message("system", "s"), probe}};
  if (role == "assistant") return {{user, probe, user}, {user, probe}};
  if (role == "tool") {
    Json result = probe;
    result["tool_call_id"] = kCallId;
    result["name"] = "look";
    const Json with_object = call({{"at", "it"}}), with_string = call(R"({"at": "it"})");
    return {{user, with_object, result}, {user, with_string, result}};
  }
  return {{probe, user}, {probe, user, message("assistant", "a"), user}};
}

bool is_parts(const Json& content) {
  return content.is_array() && std::all_of(content.begin(), content.end(), part_text);
}

std::string joined(const Json& parts) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? "" : "\n") + *part_text(parts[i]);
  return text;
}

}  // namespace

const std::string* part_text(const Json& part) {
  if (!part.is_object()) return nullptr;
  const auto text = part.find("text");
  return text != part.end() && text->is_string() ? &text->get_ref<const std::string&>() : nullptr;
}

ContentForms::ContentForms(const Render& render, ContentForm otherwise) : otherwise_(otherwise) {
  // The conversations' other messages need the form of their roles too: users come first, and tools' results
  // follow an assistant's calls.
  for (const char* role : {"user", "system", "developer", "assistant", "tool"}) {
    const auto is_taken = [&](const Json& content) {
      for (Json& messages : conversations(role, message(role, content))) {
        for (Json& other : messages) {
          if (other["role"] != role) adapt(other);
        }
        for (const Json* tools : {static_cast<const Json*>(nullptr), &probe_tools()}) {
          const std::optional<std::string> text = render(messages, tools);
          if (text && shows_whole(*text)) return true;
        }
      }
      return false;
    };
    const bool takes_text = is_taken(string_probe());
    if (is_taken(parts_probe())) {
      forms_[role] = takes_text ? ContentForm::as_sent : ContentForm::parts;
    } else if (takes_text) {
      forms_[role] = ContentForm::text;
    } else if (is_taken(one_part_probe())) {
      forms_[role] = ContentForm::one_part;
    }
  }
}

ContentForm ContentForms::form_of(const Json& message) const {
  const auto role = message.find("role");
  const bool is_named = role != message.end() && role->is_string();
  const auto form = forms_.find(is_named ? role->get_ref<const std::string&>() : "user");
  return form == forms_.end() ? otherwise_ : form->second;
}

void ContentForms::adapt(Json& message) const {
  const auto content = message.find("content");
  if (content == message.end() || !(content->is_string() || is_parts(*content))) return;
  const ContentForm form = form_of(message);
  if (content->is_array() && (form == ContentForm::text || form == ContentForm::one_part))
    *content = joined(*content);
  if (content->is_string() && (form == ContentForm::parts || form == ContentForm::one_part))
    *content = Json::array({text_part(content->get_ref<const std::string&>())});
}

}  // namespace sinkstream
