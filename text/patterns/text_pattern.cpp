#include "text/patterns/text_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>
#include <new>
#include <stdexcept>

#include "text/patterns/oniguruma.h"
#include "text/patterns/unicode14.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

constexpr std::uint32_t kMatchLimit = 20'000'000;  // steps of one match
constexpr std::uint32_t kHeapLimitKib = 256 * 1024;
constexpr std::size_t kJitStackStart = 32 * 1024;
constexpr std::size_t kJitStackLimit = 64 * 1024 * 1024;  // address space; taken as needed

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};

template <typename T>
T* checked(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

// What a match needs besides the expression; one for each thread.
struct Scratch {
  std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> data{
      checked(pcre2_match_data_create(1, nullptr))};
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> context{
      checked(pcre2_match_context_create(nullptr))};
  std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>> stack{
      checked(pcre2_jit_stack_create(kJitStackStart, kJitStackLimit, nullptr))};

  Scratch() {
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

struct Match {
  bool found;
  std::size_t begin, end;
};

Match search(const pcre2_code* code, std::string_view text, std::size_t from, std::uint32_t options) {
  thread_local const Scratch scratch;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int result = options == 0 ? pcre2_jit_match(code, subject, text.size(), from, 0, scratch.data.get(),
                                              scratch.context.get())
                            : PCRE2_ERROR_JIT_BADOPTION;
  // The interpreter has no stack to run out of, and takes every option.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT || result == PCRE2_ERROR_JIT_BADOPTION) {
    result = pcre2_match(code, subject, text.size(), from, options | PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         scratch.data.get(), scratch.context.get());
  }
  if (result == PCRE2_ERROR_NOMATCH) return {false, 0, 0};
  if (result < 0) {
    throw std::runtime_error("the tokenizer's regular expression gave up on this text: " +
                             error_text(result));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data.get());
  return {true, bounds[0], bounds[1]};
}

pcre2_code* compile(std::string_view expression, std::uint32_t options) {
  const std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>> context(
      checked(pcre2_compile_context_create(nullptr)));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                   options | PCRE2_UTF, &error, &offset, context.get());
  if (code == nullptr) throw std::invalid_argument("the regular expression is wrong: " + error_text(error));
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT the interpreter gives the same answers
  return code;
}

}  // namespace

struct TextPattern::Code {
  std::string literal;
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> pcre;  // none: the literal is looked for
};

TextPattern::TextPattern(std::unique_ptr<Code> code) : code_(std::move(code)) {}
TextPattern::~TextPattern() = default;
TextPattern::TextPattern(TextPattern&&) noexcept = default;
TextPattern& TextPattern::operator=(TextPattern&&) noexcept = default;

TextPattern TextPattern::regex(std::string_view expression) {
  auto code = std::make_unique<Code>();
  code->pcre.reset(compile(oniguruma_to_pcre2(expression), PCRE2_UCP | PCRE2_MULTILINE));
  return TextPattern(std::move(code));
}

TextPattern TextPattern::literal(std::string_view text) {
  auto code = std::make_unique<Code>();
  code->literal = text;
  if (text.empty()) code->pcre.reset(compile("", 0));  // matches between all characters
  return TextPattern(std::move(code));
}

const std::string& TextPattern::literal_text() const {
  return code_->literal;
}

// As Oniguruma's iterator in the `tokenizers` library goes: an empty match is taken unless the last match
// ended there.
template <typename Visit>
void TextPattern::for_each_match(std::string_view text, Visit visit) const {
  std::string shown;
  if (code_->pcre == nullptr) {
    const std::string& literal = code_->literal;
    for (std::size_t at = text.find(literal); at != text.npos; at = text.find(literal, at + literal.size())) {
      visit(at, at + literal.size());
    }
    return;
  }
  if (has_newer_characters(text)) text = shown = as_unicode14(text);
  std::size_t last_end = text.npos;
  for (std::size_t from = 0; from <= text.size();) {
    const Match match = search(code_->pcre.get(), text, from, 0);
    if (!match.found) break;
    if (match.begin == match.end && match.end == last_end) {
      if (from == text.size()) break;
      next_character(text, from);
      continue;
    }
    visit(match.begin, match.end);
    from = last_end = match.end;
  }
}

void TextPattern::find(std::string_view text, std::size_t base, std::vector<Stretch>& stretches) const {
  if (text.empty()) {
    stretches.push_back({base, base, false});
    return;
  }
  std::size_t done = 0;
  for_each_match(text, [&](std::size_t begin, std::size_t end) {
    if (begin > done) stretches.push_back({base + done, base + begin, false});
    stretches.push_back({base + begin, base + end, true});
    done = end;
  });
  if (done < text.size()) stretches.push_back({base + done, base + text.size(), false});
}

void TextPattern::replace(std::string_view text, std::string_view content, std::string& result) const {
  if (text.empty()) return;
  std::size_t done = 0;
  for_each_match(text, [&](std::size_t begin, std::size_t end) {
    result += text.substr(done, begin - done);
    result += content;
    done = end;
  });
  result += text.substr(done);
}

bool TextPattern::matches(std::string_view text) const {
  if (code_->pcre == nullptr) return text == code_->literal;
  std::string shown;
  if (has_newer_characters(text)) text = shown = as_unicode14(text);
  return search(code_->pcre.get(), text, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED).found;
}

std::optional<std::size_t> TextPattern::length_at_beginning(std::string_view text) const {
  if (code_->pcre == nullptr) {
    return text.starts_with(code_->literal) ? std::optional(code_->literal.size()) : std::nullopt;
  }
  std::string shown;
  if (has_newer_characters(text)) text = shown = as_unicode14(text);
  const Match match = search(code_->pcre.get(), text, 0, PCRE2_ANCHORED);
  return match.found ? std::optional(match.end) : std::nullopt;
}

}  // namespace sinkstream
