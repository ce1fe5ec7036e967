#include "text/unicode/utf8_stream.h"

#include "text/unicode/utf8.h"

namespace sinkstream {

std::string Utf8Stream::push(std::string_view bytes) {
  if (pending_.empty() && is_valid_utf8(bytes)) return std::string(bytes);
  pending_ += bytes;
  std::string text;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = first_character(rest);
    if (step.status == Utf8Status::cut_short) break;
    if (step.status == Utf8Status::valid) {
      text += rest.substr(0, step.length);
    } else {
      append_utf8(text, kReplacementCharacter);
    }
    rest.remove_prefix(step.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string Utf8Stream::finish() {
  std::string text = to_valid_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace sinkstream
