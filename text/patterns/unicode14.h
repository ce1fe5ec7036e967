// PCRE2's tables are those of Unicode 14, the `tokenizers` library's of Unicode 16. A regular expression is
// shown, in place of each character that is newer, an older one of the same kind: category, length in UTF-8,
// and, as far as there is one, script. (Of the properties that changed for older characters, patterns of
// tokenizers use none: U+1171E's category, and marks that became Alphabetic.)
#pragma once

#include <string>
#include <string_view>

namespace sinkstream {

// Whether the text holds characters that Unicode 14 does not know.
bool has_newer_characters(std::string_view valid_utf8);

// The same text, byte for byte as long, with older characters for the newer ones.
std::string as_unicode14(std::string_view valid_utf8);

}  // namespace sinkstream
