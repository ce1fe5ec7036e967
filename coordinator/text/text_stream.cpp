#include "coordinator/text/text_stream.h"

#include <algorithm>
#include <utility>

namespace sinkstream {

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    if (!stop.empty()) stops_.push_back(prepare(stop));
  }
}

// The tables of Knuth, Morris and Pratt.
StopMatcher::Stop StopMatcher::prepare(const std::string& text) {
  Stop stop{text, std::vector<std::size_t>(text.size() + 1, 0)};
  std::size_t length = 0;
  for (std::size_t i = 1; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = stop.border[length];
    if (text[i] == text[length]) ++length;
    stop.border[i + 1] = length;
  }
  return stop;
}

void StopMatcher::advance(Stop& stop, char byte) {
  while (stop.matched > 0 && stop.text[stop.matched] != byte) stop.matched = stop.border[stop.matched];
  if (stop.text[stop.matched] == byte) ++stop.matched;
}

std::string StopMatcher::push(std::string_view text) {
  if (matched_) return {};
  std::size_t possible = 0;  // length of the longest beginning of a stop string at the end of the stream
  for (const char byte : text) {
    held_ += byte;
    possible = 0;
    std::size_t complete = 0;
    for (Stop& stop : stops_) {
      advance(stop, byte);
      possible = std::max(possible, stop.matched);
      if (stop.matched == stop.text.size()) complete = std::max(complete, stop.matched);
    }
    if (complete > 0) {
      matched_ = true;
      std::string shown = held_.substr(0, held_.size() - complete);
      held_.clear();
      return shown;
    }
  }
  if (text.empty()) return {};
  std::string shown = held_.substr(0, held_.size() - possible);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopMatcher::finish() {
  return std::exchange(held_, {});
}

TextStream::TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stops,
                       bool skip_special_tokens, bool continues_text)
    : decoder_(tokenizer, skip_special_tokens, continues_text), stops_(stops) {}

std::string TextStream::push(TokenId token) {
  return stops_.push(decoder_.push(token));
}

std::string TextStream::finish() {
  std::string text = stops_.push(decoder_.finish());
  return text + stops_.finish();
}

}  // namespace sinkstream
