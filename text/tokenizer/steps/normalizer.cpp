#include "text/tokenizer/steps/normalizer.h"

#include <utility>

#include "text/tokenizer/steps/byte_level.h"
#include "text/unicode/character_class.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

using Result = Normalizer::Result;

// Every character as `append(result, character)` writes it. A first character of which nothing is left does
// not count as the beginning any more.
Result map_characters(const Result& from, auto append) {
  Result to{{}, from.same_beginning};
  to.text.reserve(from.text.size());
  for (std::size_t at = 0; at < from.text.size();) {
    const bool is_first = at == 0;
    append(to.text, next_character(from.text, at));
    if (is_first && to.text.empty()) to.same_beginning = false;
  }
  return to;
}

void apply(NormalForm form, Result& result) {
  result.text = normalize(std::move(result.text), form);
}

void apply(const PrependStep& step, Result& result) {
  if (!result.text.empty()) result.text.insert(0, step.text);
}

// What replaces several characters counts as made of the last of them.
bool replaces_beginning(const ReplaceStep& step, std::string_view text) {
  const auto length = step.pattern.length_at_beginning(text);
  if (!length || *length == 0) return false;
  return step.content.empty() || *length > first_character(text).length;
}

void apply(const ReplaceStep& step, Result& result) {
  if (replaces_beginning(step, result.text)) result.same_beginning = false;
  std::string text;
  text.reserve(result.text.size() + result.text.size() / 4);
  step.pattern.replace(result.text, step.content, text);
  result.text = std::move(text);
}

void apply(const StripSpaceStep& step, Result& result) {
  std::string_view text = result.text;
  if (step.left) {
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size(); begin = at) {
      if (!is_white_space(next_character(text, at))) break;
    }
    if (begin > 0) result.same_beginning = false;
    text.remove_prefix(begin);
  }
  while (step.right && !text.empty()) {
    const std::string_view last = last_character(text);
    if (!is_white_space(first_character(last).code_point)) break;
    text.remove_suffix(last.size());
  }
  result.text = std::string(text);
}

void apply(const LowercaseStep&, Result& result) {
  result = map_characters(result, append_lower_case);
}

void apply(const StripAccentsStep&, Result& result) {
  result = map_characters(result, [](std::string& text, char32_t character) {
    if (!is_combining_mark(character)) append_utf8(text, character);
  });
}

void apply(const CleanControlsStep&, Result& result) {
  result = map_characters(result, [](std::string& text, char32_t c) {
    const bool is_control = (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
                            c == 0x8F || c == 0x9F;
    const bool is_space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                          (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                          c == 0xFEFF || c == 0xFFFD;
    if (!is_control) append_utf8(text, is_space ? U' ' : c);
  });
}

void apply(const ByteAlphabetStep&, Result& result) {
  std::string text;
  append_byte_level(result.text, text);
  result.text = std::move(text);
}

}  // namespace

Normalizer::Result Normalizer::run(std::string text) const {
  Result result{std::move(text), true};
  for (const NormalizerStep& step : steps_) {
    std::visit([&result](const auto& kind) { apply(kind, result); }, step);
  }
  return result;
}

std::string Normalizer::run_inside(std::string text) const {
  Result result{std::move(text), true};
  for (const NormalizerStep& step : steps_) {
    if (std::holds_alternative<PrependStep>(step) || std::holds_alternative<StripSpaceStep>(step)) continue;
    std::visit([&result](const auto& kind) { apply(kind, result); }, step);
  }
  return std::move(result.text);
}

}  // namespace sinkstream
