#include "coordinator/text/text_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>
#include <new>
#include <stdexcept>

#include "coordinator/text/oniguruma.h"
#include "coordinator/text/utf8.h"

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
  const auto run = [&](std::uint32_t extra) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       options | extra | PCRE2_NO_UTF_CHECK, scratch.data.get(), scratch.context.get());
  };
  int result = run(0);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);  // the interpreter uses the heap
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
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> pcre;
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
  code->pcre.reset(compile(text, PCRE2_LITERAL));
  return TextPattern(std::move(code));
}

void TextPattern::append_piece_ends(std::string_view text, std::size_t base,
                                    std::vector<std::size_t>& ends) const {
  std::size_t last = 0;
  const auto cut_at = [&](std::size_t position) {
    if (position > last) ends.push_back(base + position);
    last = position;
  };
  for (std::size_t from = 0; from < text.size();) {
    const Match match = search(code_->pcre.get(), text, from, 0);
    if (!match.found) break;
    cut_at(match.begin);
    cut_at(match.end);
    from = match.end;
    if (match.end == match.begin && from < text.size()) from += first_character(text.substr(from)).length;
  }
  cut_at(text.size());
}

bool TextPattern::matches(std::string_view text) const {
  const Match match = search(code_->pcre.get(), text, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
  return match.found;
}

}  // namespace sinkstream
