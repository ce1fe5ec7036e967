#include "text/tokenizer/token_ends.h"

#include <utility>

namespace sinkstream {

StreamPlace TokenEnds::End::place() const {
  const std::int64_t bytes = std::ssize(rest);
  return {certain.visible + bytes, certain.all + bytes};
}

void TokenEnds::add_text(std::string_view certain) {
  if (ends_.empty()) {
    recent_begin_ = certain_.visible;
    recent_.clear();
  }
  recent_ += certain;
  certain_.visible += std::ssize(certain);
  certain_.all += std::ssize(certain);
}

void TokenEnds::add_hidden(std::size_t bytes) {
  certain_.all += static_cast<std::int64_t>(bytes);
}

void TokenEnds::end_token(std::optional<std::string> rest) {
  ++tokens_;
  if (!rest) return;
  if (ends_.empty()) {
    recent_begin_ = certain_.visible;
    recent_.clear();
  }
  ends_.push_back({tokens_, certain_, std::move(*rest)});
}

bool TokenEnds::is_told(const End& end) const {
  const StreamPlace place = end.place();
  if (place.visible > told_.visible || place.all > told_.all) return false;
  const auto begin = static_cast<std::size_t>(end.certain.visible - recent_begin_);
  return std::string_view(recent_).substr(begin).starts_with(end.rest);
}

void TokenEnds::tell(const StreamPlace& told) {
  const bool further = told != told_;
  told_ = told;
  for (auto end = ends_.rbegin(); end != ends_.rend(); ++end) {
    if (is_told(*end)) {
      told_tokens_ = end->tokens;
      told_end_ = end->place();
      ends_.erase(ends_.begin(), end.base());
      break;
    }
    if (!further) break;  // of those that stood here before none has become told
  }
  if (ends_.empty()) return;
  const std::int64_t begin = ends_.front().certain.visible;
  recent_.erase(0, static_cast<std::size_t>(begin - recent_begin_));
  recent_begin_ = begin;
}

void TokenEnds::tell_all() {
  told_tokens_ = tokens_;
  told_end_ = told_ = certain_;
  ends_.clear();
}

}  // namespace sinkstream
