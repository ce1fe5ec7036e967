#include "text/tokenizer/steps/decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "text/tokenizer/steps/byte_level.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

constexpr std::size_t kByteName = 6;  // "<0x0A>"

std::optional<char> byte_of_name(std::string_view name) {
  if (name.size() != kByteName || !name.starts_with("<0x") || name.back() != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : name.substr(3, 2)) {
    const bool is_digit = c >= '0' && c <= '9';
    const char letter = static_cast<char>(c | 0x20);
    if (!is_digit && !(letter >= 'a' && letter <= 'f')) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(is_digit ? c - '0' : letter - 'a' + 10);
  }
  return static_cast<char>(value);
}

// ---- steps that look at one name only

std::string strip(const StripTokens& step, std::string_view text) {
  std::string content;
  append_utf8(content, step.content);
  for (std::size_t i = 0; i < step.start && text.starts_with(content); ++i)
    text.remove_prefix(content.size());
  for (std::size_t i = 0; i < step.stop && text.ends_with(content); ++i) text.remove_suffix(content.size());
  return std::string(text);
}

std::string replace(const ReplaceInTokens& step, std::string_view text) {
  std::string result;
  step.pattern.replace(text, step.content, result);
  return result;
}

// None: the step looks at more.
std::optional<std::string> made_of_one(const DecoderStep& step, std::string_view name) {
  if (const auto* replacing = std::get_if<ReplaceInTokens>(&step)) return replace(*replacing, name);
  if (const auto* stripping = std::get_if<StripTokens>(&step)) return strip(*stripping, name);
  if (std::holds_alternative<ReadByteAlphabet>(step)) return from_byte_level(name);
  return std::nullopt;
}

std::string read_metaspace(const ReadMetaspace& step, std::string_view text, bool strip) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t character = next_character(text, at);
    if (character != step.replacement) {
      append_utf8(result, character);
    } else if (!strip) {
      result += ' ';
    }
  }
  return result;
}

// Length of the longest end of `text` that `word` begins with, `word` itself excepted.
std::size_t begun(std::string_view text, std::string_view word) {
  std::size_t length = std::min(text.size(), word.size() - 1);
  while (length > 0 && !word.starts_with(text.substr(text.size() - length))) --length;
  return length;
}

}  // namespace

Decoder::Decoder(std::vector<DecoderStep> steps) : steps_(std::move(steps)) {
  while (prepared_ < steps_.size() && made_of_one(steps_[prepared_], "")) ++prepared_;
}

std::string Decoder::prepare(std::string_view name) const {
  std::string result(name);
  for (std::size_t i = 0; i < prepared_; ++i) result = *made_of_one(steps_[i], result);
  return result;
}

std::string Decoder::bytes_of(std::string_view prepared) const {
  std::string bytes(prepared);
  for (std::size_t i = prepared_; i < steps_.size(); ++i) {
    const DecoderStep& step = steps_[i];
    const bool fuses = std::holds_alternative<FuseTokens>(step) || std::holds_alternative<FuseBytes>(step);
    if (fuses) break;  // what follows cuts at the ends of the whole text
    if (std::holds_alternative<ByteFallback>(step)) {
      if (const auto byte = byte_of_name(bytes)) return std::string(1, *byte);
    } else if (const auto* metaspace = std::get_if<ReadMetaspace>(&step)) {
      bytes = read_metaspace(*metaspace, bytes, /*strip=*/false);
    } else if (auto made = made_of_one(step, bytes)) {
      bytes = std::move(*made);
    }
  }
  return bytes;
}

DecodeStream::DecodeStream(const Decoder& decoder, bool continues)
    : decoder_(&decoder), states_(decoder.steps_.size()) {
  bool fused = false;
  for (std::size_t i = decoder.prepared_; i < states_.size(); ++i) {
    const DecoderStep& step = decoder.steps_[i];
    states_[i].is_first = !continues;
    if (const auto* stripping = std::get_if<StripTokens>(&step)) {
      states_[i].start = continues && fused ? 0 : stripping->start;
    }
    fused = fused || std::holds_alternative<FuseTokens>(step) || std::holds_alternative<FuseBytes>(step);
  }
}

void DecodeStream::push(std::string_view prepared, std::string& text) {
  output_ = &text;
  feed(decoder_->prepared_, prepared, true);
}

// The strings that steps have fused end here, the first step's first.
void DecodeStream::finish(std::string& text) {
  output_ = &text;
  for (std::size_t i = decoder_->prepared_; i < states_.size(); ++i) {
    const DecoderStep& step = decoder_->steps_[i];
    if (std::holds_alternative<ByteFallback>(step)) end_bytes(i);
    if (std::holds_alternative<FuseTokens>(step)) feed(i + 1, "", true);
    if (std::holds_alternative<FuseBytes>(step)) feed(i + 1, states_[i].characters.finish(), true);
  }
}

std::size_t DecodeStream::held_bytes() const {
  std::size_t bytes = 0;
  for (const State& state : states_) {
    bytes += state.held.size() + state.bytes.size() + state.characters.held_bytes();
  }
  return bytes;
}

void DecodeStream::feed(std::size_t i, std::string_view text, bool ends) {
  if (i == states_.size()) {
    *output_ += text;
  } else {
    std::visit([&](const auto& step) { take(step, i, text, ends); }, decoder_->steps_[i]);
  }
}

void DecodeStream::take(const ReplaceInTokens& step, std::size_t i, std::string_view text, bool ends) {
  State& state = states_[i];
  state.held += text;
  const std::string& literal = step.pattern.literal_text();
  if (ends) {
    const std::string replaced = replace(step, std::exchange(state.held, {}));
    feed(i + 1, replaced, true);
  } else if (!literal.empty()) {  // of a regular expression nothing is certain before the end
    std::size_t certain = 0;
    for (std::size_t at = 0; (at = state.held.find(literal, at)) != state.held.npos;) {
      certain = at += literal.size();
    }
    certain = state.held.size() - begun(std::string_view(state.held).substr(certain), literal);
    const std::string replaced = replace(step, std::string_view(state.held).substr(0, certain));
    state.held.erase(0, certain);
    feed(i + 1, replaced, false);
  }
}

void DecodeStream::take(const StripTokens& step, std::size_t i, std::string_view text, bool ends) {
  State& state = states_[i];
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t character = next_character(text, at);
    if (character == step.content) {
      if (state.start > 0) {
        --state.start;
      } else if (state.stop < step.stop) {
        ++state.stop;
      } else {
        append_utf8(kept, character);
      }
      continue;
    }
    state.start = 0;
    for (; state.stop > 0; --state.stop) append_utf8(kept, step.content);
    append_utf8(kept, character);
  }
  if (ends) {
    state.start = step.start;
    state.stop = 0;
  }
  feed(i + 1, kept, ends);
}

void DecodeStream::take(const ReadByteAlphabet&, std::size_t i, std::string_view text, bool ends) {
  State& state = states_[i];
  state.held += text;
  if (ends) feed(i + 1, from_byte_level(std::exchange(state.held, {})), true);
}

void DecodeStream::take(const FuseBytes&, std::size_t i, std::string_view text, bool) {
  feed(i + 1, states_[i].characters.push(text), false);
}

void DecodeStream::take(const ByteFallback&, std::size_t i, std::string_view text, bool ends) {
  State& state = states_[i];
  state.held += text;
  if (!ends && !state.passing && state.held.size() <= kByteName) return;
  if (ends && !state.passing) {
    if (const auto byte = byte_of_name(state.held)) {
      state.bytes += *byte;
      state.held.clear();
      return;
    }
  }
  end_bytes(i);
  state.passing = !ends;
  feed(i + 1, std::exchange(state.held, {}), ends);
}

void DecodeStream::end_bytes(std::size_t i) {
  const std::string bytes = std::exchange(states_[i].bytes, {});
  if (bytes.empty()) return;
  if (is_valid_utf8(bytes)) return feed(i + 1, bytes, true);
  for (std::size_t n = 0; n < bytes.size(); ++n) feed(i + 1, "\uFFFD", true);
}

void DecodeStream::take(const FuseTokens&, std::size_t i, std::string_view text, bool) {
  if (!text.empty()) feed(i + 1, text, false);
}

void DecodeStream::take(const ReadMetaspace& step, std::size_t i, std::string_view text, bool ends) {
  State& state = states_[i];
  const std::string read = read_metaspace(step, text, state.is_first && step.strip_first);
  if (ends) state.is_first = false;
  feed(i + 1, read, ends);
}

void DecodeStream::take(const JoinWithSpaces&, std::size_t i, std::string_view text, bool) {
  const bool is_first = std::exchange(states_[i].is_first, false);
  if (!is_first) feed(i + 1, " ", false);
  feed(i + 1, text, false);
}

}  // namespace sinkstream
