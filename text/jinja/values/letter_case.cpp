#include "text/jinja/values/letter_case.h"

#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include <algorithm>
#include <functional>

#include "text/jinja/values/strings.h"
#include "text/unicode/utf8.h"

namespace sinkstream::jinja {
namespace {

std::u16string to_utf16(std::string_view text) {
  std::u16string result;
  result.reserve(text.size());
  for (; !text.empty(); text.remove_prefix(first_character(text).length)) {
    const char32_t c = first_character(text).code_point;
    if (c < 0x10000) {
      result += static_cast<char16_t>(c);
    } else {
      result += static_cast<char16_t>(0xD7C0 + (c >> 10));
      result += static_cast<char16_t>(0xDC00 | (c & 0x3FF));
    }
  }
  return result;
}

std::string to_utf8(std::u16string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char32_t c = text[i];
    if (c >= 0xD800 && c < 0xDC00 && i + 1 < text.size()) c = ((c - 0xD7C0) << 10) | (text[++i] & 0x3FFu);
    append_utf8(result, c);
  }
  return result;
}

using CaseMapping = std::int32_t (*)(UChar*, std::int32_t, const UChar*, std::int32_t, const char*,
                                     UErrorCode*);

// A full mapping makes a text at most three times as long.
std::string map_case(std::string_view text, CaseMapping mapping) {
  const std::u16string source = to_utf16(text);
  std::u16string target(source.size() * 3 + 1, u'\0');
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t size = mapping(target.data(), static_cast<std::int32_t>(target.size()), source.data(),
                                    static_cast<std::int32_t>(source.size()), "", &status);
  if (U_FAILURE(status)) return std::string(text);
  return to_utf8(std::u16string_view(target).substr(0, static_cast<std::size_t>(size)));
}

std::int32_t title_mapping(UChar* target, std::int32_t capacity, const UChar* source, std::int32_t size,
                           const char* locale, UErrorCode* status) {
  return u_strToTitle(target, capacity, source, size, nullptr, locale, status);
}

bool all(std::string_view text, const std::function<bool(UChar32)>& accepts) {
  if (text.empty()) return false;
  for (; !text.empty(); text.remove_prefix(first_character(text).length)) {
    if (!accepts(static_cast<UChar32>(first_character(text).code_point))) return false;
  }
  return true;
}

bool is_alphabetic(UChar32 c) {
  return (U_GET_GC_MASK(c) & U_GC_L_MASK) != 0;
}

bool is_digit_character(UChar32 c) {
  const int type = u_getIntPropertyValue(c, UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}

bool is_cased(UChar32 c) {
  return u_hasBinaryProperty(c, UCHAR_LOWERCASE) || u_hasBinaryProperty(c, UCHAR_UPPERCASE) || u_istitle(c);
}

// Some cased character, and none that is `refused`.
bool is_all_cased(std::string_view text, UProperty refused) {
  bool any = false;
  for (; !text.empty(); text.remove_prefix(first_character(text).length)) {
    const auto c = static_cast<UChar32>(first_character(text).code_point);
    if (u_hasBinaryProperty(c, refused) || u_istitle(c)) return false;
    any = any || is_cased(c);
  }
  return any;
}

}  // namespace

std::string to_upper(std::string_view text) {
  return map_case(text, u_strToUpper);
}

std::string to_lower(std::string_view text) {
  return map_case(text, u_strToLower);
}

std::string fold_case(std::string_view text) {
  const std::u16string source = to_utf16(text);
  std::u16string target(source.size() * 3 + 1, u'\0');
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t size =
      u_strFoldCase(target.data(), static_cast<std::int32_t>(target.size()), source.data(),
                    static_cast<std::int32_t>(source.size()), U_FOLD_CASE_DEFAULT, &status);
  if (U_FAILURE(status)) return std::string(text);
  return to_utf8(std::u16string_view(target).substr(0, static_cast<std::size_t>(size)));
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  const std::string_view first = first_text_character(text);
  const std::string lowered = to_lower(text);  // as a whole: a final sigma depends on what is before it
  const std::size_t lowered_first = to_lower(first).size();
  return map_case(first, title_mapping) + lowered.substr(std::min(lowered_first, lowered.size()));
}

std::string to_title(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    std::size_t letters = 0;
    while (letters < text.size() &&
           is_cased(static_cast<UChar32>(first_character(text.substr(letters)).code_point))) {
      letters += first_character(text.substr(letters)).length;
    }
    result += capitalize(text.substr(0, letters));
    text.remove_prefix(letters);
    const std::string_view between = text.empty() ? text : first_text_character(text);
    result += between;
    text.remove_prefix(between.size());
  }
  return result;
}

std::string swap_case(std::string_view text) {
  std::string result;
  for (const std::string_view character : characters(text)) {
    const auto c = static_cast<UChar32>(first_character(character).code_point);
    result += u_hasBinaryProperty(c, UCHAR_UPPERCASE) ? to_lower(character) : to_upper(character);
  }
  return result;
}

bool is_all_alphabetic(std::string_view text) {
  return all(text, is_alphabetic);
}

bool is_all_digits(std::string_view text) {
  return all(text, is_digit_character);
}

bool is_all_decimal(std::string_view text) {
  return all(text, [](UChar32 c) { return u_charType(c) == U_DECIMAL_DIGIT_NUMBER; });
}

bool is_all_numeric(std::string_view text) {
  return all(text, [](UChar32 c) { return u_getIntPropertyValue(c, UCHAR_NUMERIC_TYPE) != U_NT_NONE; });
}

bool is_all_alphanumeric(std::string_view text) {
  return all(text, [](UChar32 c) {
    return is_alphabetic(c) || u_getIntPropertyValue(c, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
  });
}

bool is_all_upper(std::string_view text) {
  return is_all_cased(text, UCHAR_LOWERCASE);
}

bool is_all_lower(std::string_view text) {
  return is_all_cased(text, UCHAR_UPPERCASE);
}

bool is_title(std::string_view text) {
  bool any = false;
  bool after_cased = false;
  for (; !text.empty(); text.remove_prefix(first_character(text).length)) {
    const auto c = static_cast<UChar32>(first_character(text).code_point);
    const bool begins = u_hasBinaryProperty(c, UCHAR_UPPERCASE) || u_istitle(c);
    if (is_cased(c) && begins == after_cased) return false;
    after_cased = is_cased(c);
    any = any || after_cased;
  }
  return any;
}

bool is_printable(char32_t c) {
  if (c == U' ') return true;
  const std::uint32_t hidden = U_GC_C_MASK | U_GC_Z_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & hidden) == 0;
}

}  // namespace sinkstream::jinja
