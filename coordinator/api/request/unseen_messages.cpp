#include "coordinator/api/request/unseen_messages.h"

#include <nlohmann/json.hpp>
#include <set>

#include "text/chat/chat_template.h"
#include "text/chat/content_forms.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kOtherText = "70415926";
// Texts that stand before their place, where a template moves them; each costs a search of the whole prompt.
constexpr int kMaxMoved = 64;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

// Those of a message's content that are not blank.
std::vector<std::string_view> texts_of(const json& message) {
  std::vector<std::string_view> texts;
  const auto add = [&texts](const std::string& text) {
    if (const std::string_view rest = trimmed(text); !rest.empty()) texts.push_back(rest);
  };
  const auto content = message.find("content");
  if (content == message.end()) return texts;
  if (content->is_string()) add(content->get_ref<const std::string&>());
  if (content->is_array()) {
    for (const json& part : *content) {
      if (const std::string* text = part_text(part)) add(*text);
    }
  }
  return texts;
}

// Looks for texts in the order in which they are likely to stand.
class Search {
 public:
  explicit Search(const std::string& prompt) : prompt_(prompt) {}

  bool finds(const std::string& text) {
    std::size_t found = prompt_.find(text, at_);
    if (found != prompt_.npos) {
      at_ = found + text.size();
      return true;
    }
    return moved_++ >= kMaxMoved || prompt_.find(text) != prompt_.npos;
  }

 private:
  const std::string& prompt_;
  std::size_t at_ = 0;
  int moved_ = 0;
};

bool changes_nothing(std::size_t index, const RenderedChat& chat) {
  json messages = chat.messages;
  messages[index]["content"] = kOtherText;
  try {
    return chat.render(messages) == chat.prompt;
  } catch (const TemplateError&) {
    return false;  // it was looked at
  }
}

}  // namespace

std::vector<std::size_t> unseen_messages(const RenderedChat& chat) {
  std::vector<std::size_t> unseen;
  std::set<std::string> tried;  // roles
  Search search(chat.prompt);
  for (std::size_t i = chat.first; i < chat.messages.size(); ++i) {
    const std::string& role = chat.messages[i]["role"].get_ref<const std::string&>();
    const std::vector<std::string_view> texts = texts_of(chat.messages[i]);
    if (texts.empty() || tried.contains(role)) continue;
    bool found = chat.shows_role(role);
    for (const std::string_view text : texts) found = found && search.finds(chat.written(text));
    if (found) continue;
    tried.insert(role);
    if (changes_nothing(i, chat)) unseen.push_back(i);
  }
  return unseen;
}

}  // namespace sinkstream
