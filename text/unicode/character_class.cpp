#include "text/unicode/character_class.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

// The library's parts know different versions of Unicode: numbers and letter case those of 17, punctuation
// of 8, marks of 9. ICU knows 15, and since which version a character is there.
constexpr int kPunctuationVersion = 8;
constexpr int kMarkVersion = 9;

struct Range {
  char32_t first, last;
};
constexpr Range kNewerNumbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
                                   {0x11DE0, 0x11DE9}, {0x16130, 0x16139}, {0x16D70, 0x16D79},
                                   {0x16FF4, 0x16FF6}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA}};

struct CaseRange {
  char32_t first, last, lower;
};
constexpr CaseRange kNewerCase[] = {{0x1C89, 0x1C89, 0x1C8A},    {0xA7CB, 0xA7CB, 0x264},
                                    {0xA7CC, 0xA7CC, 0xA7CD},    {0xA7CE, 0xA7CE, 0xA7CF},
                                    {0xA7D2, 0xA7D2, 0xA7D3},    {0xA7D4, 0xA7D4, 0xA7D5},
                                    {0xA7DA, 0xA7DA, 0xA7DB},    {0xA7DC, 0xA7DC, 0x19B},
                                    {0x10D50, 0x10D65, 0x10D70}, {0x16EA0, 0x16EB8, 0x16EBB}};

bool has_category(char32_t code_point, std::uint32_t mask) {
  return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & mask) != 0;
}

bool is_known_since(char32_t code_point, int version) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(code_point), age);
  return age[0] <= version;
}

}  // namespace

bool is_numeric(char32_t code_point) {
  if (code_point < 0x80) return code_point >= '0' && code_point <= '9';
  return has_category(code_point, U_GC_N_MASK) ||
         std::any_of(std::begin(kNewerNumbers), std::end(kNewerNumbers), [code_point](const Range& range) {
           return code_point >= range.first && code_point <= range.last;
         });
}

bool is_punctuation(char32_t code_point) {
  if (code_point < 0x80) {
    return code_point > ' ' && code_point < 0x7F && !(code_point >= '0' && code_point <= '9') &&
           !(code_point >= 'A' && code_point <= 'Z') && !(code_point >= 'a' && code_point <= 'z');
  }
  if (code_point == 0x166D || code_point == 0x111C9) return true;  // until Unicode 8
  return has_category(code_point, U_GC_P_MASK) && is_known_since(code_point, kPunctuationVersion);
}

bool is_combining_mark(char32_t code_point) {
  if (code_point < 0x300 || code_point == 0x111C9) return false;  // since Unicode 11
  if (code_point == 0x1CF2 || code_point == 0x1CF3) return true;  // until Unicode 11
  return has_category(code_point, U_GC_M_MASK) && is_known_since(code_point, kMarkVersion);
}

void append_lower_case(std::string& text, char32_t code_point) {
  constexpr char32_t kDottedI = 0x130;  // the one character whose lower case is two: i with a dot above it
  if (code_point == kDottedI) {
    text += "i\u0307";
    return;
  }
  for (const CaseRange& range : kNewerCase) {
    if (code_point >= range.first && code_point <= range.last) {
      return append_utf8(text, code_point - range.first + range.lower);
    }
  }
  append_utf8(text, static_cast<char32_t>(u_tolower(static_cast<UChar32>(code_point))));
}

}  // namespace sinkstream
