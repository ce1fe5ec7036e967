#include "coordinator/api/sessions/session_head.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr int kVersion = 1;

json messages_json(const std::shared_ptr<const json>& messages) {
  return messages ? *messages : json(nullptr);
}
std::shared_ptr<const json> read_messages(const json& value) {
  return value.is_null() ? nullptr : std::make_shared<const json>(value);
}

json marks_json(const SessionContents& contents) {
  json marks = json::array();
  for (std::size_t i = contents.marks_without_messages; i < contents.marks.size(); ++i) {
    const ChatMark& mark = contents.marks[i];
    marks.push_back({{"from", mark.from},
                     {"to", mark.to},
                     {"answering", mark.answering},
                     {"messages", messages_json(mark.messages)}});
  }
  return marks;
}

// Earlier versions kept all marks here, also where there was nothing to be known any more.
void read_marks(const json& marks, SessionContents& contents) {
  for (const json& mark : marks) {
    if (mark.at("messages").is_null() && !mark.at("answering")) continue;
    contents.marks.push_back({.from = mark.at("from"),
                              .to = mark.at("to"),
                              .messages = read_messages(mark.at("messages")),
                              .answering = mark.at("answering")});
    if (!contents.marks.back().messages) contents.marks_without_messages = contents.marks.size();
  }
}

json saved_json(const SessionContents& contents) {
  json saved = json::array();
  for (const SavedState& state : contents.saved)
    saved.push_back({{"save", state.save}, {"tokens", state.tokens}});
  return saved;
}

void read_saved(const json& saved, SessionContents& contents) {
  for (const json& state : saved) contents.saved.push_back({state.at("save"), state.at("tokens")});
}

}  // namespace

std::string head_text(const SessionFacts& facts, const SessionContents& contents, std::int64_t last_used_at) {
  const json text = {{"version", kVersion},
                     {"owner", facts.owner},
                     {"number", facts.number},
                     {"sink_tokens", facts.window.sink_tokens},
                     {"window_tokens", facts.window.window_tokens},
                     {"prefix_tokens", facts.prefix_tokens},
                     {"ttl_seconds", facts.ttl_seconds},
                     {"metadata", facts.metadata},
                     {"created_at", facts.created_at},
                     {"last_used_at", last_used_at},
                     {"tokens", contents.tokens()},
                     {"unsent", contents.unsent.size()},
                     {"arithmetic", contents.arithmetic},
                     {"same_arithmetic", contents.same_arithmetic},
                     {"cut_at", contents.cut_at ? json(*contents.cut_at) : json(nullptr)},
                     {"saved", saved_json(contents)},
                     {"pinned_messages", messages_json(contents.pinned_messages)},
                     {"marks", marks_json(contents)}};
  return text.dump(-1, ' ', false, json::error_handler_t::replace);
}

SessionHead read_head(std::string_view text) {
  const json value = json::parse(text);
  if (value.at("version") != kVersion) throw std::runtime_error("it is one of another version");
  SessionHead head;
  head.facts = {
      .id = {},
      .owner = value.at("owner"),
      .number = value.at("number"),
      .window = {.sink_tokens = value.at("sink_tokens"), .window_tokens = value.at("window_tokens")},
      .prefix_tokens = value.at("prefix_tokens"),
      .ttl_seconds = value.at("ttl_seconds"),
      .metadata = value.at("metadata"),
      .created_at = value.at("created_at")};
  head.last_used_at = value.at("last_used_at");
  head.tokens = value.at("tokens");
  head.contents.sink_tokens = head.facts.window.sink_tokens;
  head.unsent = value.at("unsent");
  head.contents.arithmetic = value.at("arithmetic");
  head.contents.same_arithmetic = value.at("same_arithmetic");
  if (!value.at("cut_at").is_null()) head.contents.cut_at = value.at("cut_at").get<std::int64_t>();
  read_saved(value.value("saved", json::array()), head.contents);  // earlier versions had no snapshots
  head.contents.pinned_messages = read_messages(value.at("pinned_messages"));
  read_marks(value.at("marks"), head.contents);
  return head;
}

void add_older_answers(const std::vector<StoredAnswer>& answers, SessionContents& contents) {
  for (auto answer = answers.rbegin(); answer != answers.rend(); ++answer) {
    contents.marks.push_front(
        {.from = answer->begin, .to = answer->end, .messages = nullptr, .answering = true});
  }
  contents.marks_without_messages += answers.size();
  contents.recorded_marks = answers.size();
}

}  // namespace sinkstream
