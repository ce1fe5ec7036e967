// The regular expressions of tokenizer.json are Oniguruma's (Ruby syntax); PCRE2 reads some of them
// differently.
#pragma once

#include <string>
#include <string_view>

namespace sinkstream {

// The same expression for PCRE2 (UTF, UCP, MULTILINE). Throws std::invalid_argument naming what has no
// equivalent.
std::string oniguruma_to_pcre2(std::string_view pattern);

}  // namespace sinkstream
