#include "text/tokenizer/text_stream.h"

#include <algorithm>
#include <utility>

namespace sinkstream {
namespace {

// A stream may be cut behind a token that leaves so much uncertain. Only runs of byte tokens leave more: all
// of one is replaced when it turns out to be no text.
constexpr std::size_t kMaxRestBytes = 256;

}  // namespace

StopMatcher::StopMatcher(const std::vector<std::string>& stops, const std::vector<std::string>& special_names,
                         bool include)
    : include_(include) {
  for (const std::string& text : stops) {
    if (text.empty()) continue;
    stops_.push_back(prepare(text, special_names));
    if (stops_.back().sees_hidden) max_hidden_ = std::max(max_hidden_, text.size());
  }
}

// The tables of Knuth, Morris and Pratt.
StopMatcher::Stop StopMatcher::prepare(const std::string& text,
                                       const std::vector<std::string>& special_names) {
  Stop stop{text, std::vector<std::size_t>(text.size() + 1, 0)};
  stop.sees_hidden =
      std::any_of(special_names.begin(), special_names.end(),
                  [&text](const std::string& name) { return !name.empty() && text.find(name) != text.npos; });
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

void StopMatcher::remember(bool hidden) {
  if (max_hidden_ == 0) return;
  is_hidden_.push_back(hidden);
  if (is_hidden_.size() < 4 * max_hidden_) return;  // cut seldom, so that it costs little
  is_hidden_.erase(is_hidden_.begin(), is_hidden_.end() - static_cast<std::ptrdiff_t>(max_hidden_));
}

std::size_t StopMatcher::visible_bytes(const Stop& stop) const {
  if (!stop.sees_hidden) return stop.matched;
  return static_cast<std::size_t>(
      std::count(is_hidden_.end() - static_cast<std::ptrdiff_t>(stop.matched), is_hidden_.end(), false));
}

// The longest stop string that this byte completes, or null.
const StopMatcher::Stop* StopMatcher::take(char byte, bool may_match, bool hidden) {
  ++taken_.all;
  if (!hidden) {
    ++taken_.visible;
    held_ += byte;
  }
  remember(hidden);
  const Stop* complete = nullptr;
  for (Stop& stop : stops_) {
    if (hidden && !stop.sees_hidden) continue;
    advance(stop, byte);
    if (stop.matched < stop.text.size()) continue;
    if (!may_match) {
      stop.matched = stop.border[stop.matched];
    } else if (!complete || stop.text.size() > complete->text.size()) {
      complete = &stop;
    }
  }
  return complete;
}

std::string StopMatcher::push(std::string_view text, bool may_match, bool hidden) {
  if (matched_ || text.empty()) return {};
  for (const char byte : text) {
    if (const Stop* stop = take(byte, may_match, hidden)) return complete(*stop);
  }
  std::int64_t possible = 0;  // of all text: the longest beginning of a stop string at the end of the stream
  std::size_t visible = 0;    // of visible text
  for (const Stop& stop : stops_) {
    if (stop.sees_hidden) possible = std::max(possible, static_cast<std::int64_t>(stop.matched));
    visible = std::max(visible, visible_bytes(stop));
  }
  std::string shown = held_.substr(0, held_.size() - visible);
  held_.erase(0, shown.size());
  told_ = {taken_.visible - std::ssize(held_), taken_.all - possible};
  return shown;
}

std::string StopMatcher::complete(const Stop& stop) {
  matched_ = true;
  const std::size_t visible = visible_bytes(stop);
  std::string shown = held_.substr(0, held_.size() - visible);
  held_.clear();
  told_ = taken_;
  if (include_) {
    shows_hidden_ = stop.sees_hidden;
    return shown + stop.text;
  }
  told_.visible -= static_cast<std::int64_t>(visible);
  if (stop.sees_hidden) told_.all -= std::ssize(stop.text);
  return shown;
}

std::string StopMatcher::finish() {
  if (!matched_) told_ = taken_;
  return std::exchange(held_, {});
}

std::size_t StopMatcher::shown_behind(const StreamPlace& end) const {
  return static_cast<std::size_t>(shows_hidden_ ? told_.all - end.all : told_.visible - end.visible);
}

bool StopMatcher::undecided() const {
  return matched_ ||
         std::any_of(stops_.begin(), stops_.end(), [](const Stop& stop) { return stop.matched > 0; });
}

TextStream::TextStream(const Tokenizer& tokenizer, const TextStreamOptions& options)
    : tokenizer_(tokenizer),
      skip_special_tokens_(options.skip_special_tokens),
      has_begun_(options.continues_text),
      decoder_(std::in_place, tokenizer, options.skip_special_tokens, options.continues_text),
      stops_(options.stops, tokenizer.special_token_names(), options.include_stop) {}

std::string TextStream::push(TokenId token, bool may_stop) {
  std::string text;
  if (tokenizer_.has_text(token, skip_special_tokens_)) {
    has_begun_ = true;
    text = push_text(decoder_->push(token), may_stop);
  } else if (stops_.sees_hidden() && tokenizer_.has_text(token, false)) {
    text = push_hidden(token, may_stop);
  }
  ends_.end_token(decoder_->rest(kMaxRestBytes));
  return tell(std::move(text));
}

std::string TextStream::push_text(std::string_view certain, bool may_stop) {
  ends_.add_text(certain);
  return stops_.push(certain, may_stop);
}

// Ends what the decoder holds back, since a stop string may hold both: Llama's line feeds are byte tokens,
// which become text when their run ends.
std::string TextStream::push_hidden(TokenId token, bool may_stop) {
  std::string text;
  if (has_begun_) {
    text = push_text(decoder_->finish(), may_stop);
    decoder_.emplace(tokenizer_, skip_special_tokens_, /*continues_text=*/true);
  }
  const std::string& name = tokenizer_.token_bytes(token);
  ends_.add_hidden(name.size());
  return text + stops_.push_hidden(name, may_stop);
}

std::string TextStream::finish() {
  std::string text = push_text(decoder_->finish(), /*may_stop=*/true);
  text += stops_.finish();
  if (!stopped()) ends_.tell_all();
  return tell(std::move(text));
}

std::string TextStream::tell(std::string text) {
  ends_.tell(stops_.told());
  pending_text_ += text;
  pending_text_.erase(0, pending_text_.size() - stops_.shown_behind(ends_.told_end()));
  return text;
}

}  // namespace sinkstream
