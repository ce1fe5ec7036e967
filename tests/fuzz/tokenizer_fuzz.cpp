// A tokenizer.json, then (after a NUL byte) a text: what is encoded decodes again.
#include <algorithm>

#include "base/error.h"
#include "tests/fuzz/scratch.h"
#include "tests/temporary_directory.h"
#include "text/tokenizer/tokenizer.h"
#include "text/unicode/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  static const TemporaryDirectory directory(fuzz::scratch_place());
  const std::string_view input = fuzz::as_text(data, size);
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view text = input.substr(std::min(end + 1, input.size()));
  try {
    const Tokenizer tokenizer = Tokenizer::load(directory.write("tokenizer.json", input.substr(0, end)));
    try {
      for (const bool special : {false, true}) {
        const std::vector<TokenId> tokens = tokenizer.encode(text, {.add_special_tokens = special});
        for (const TokenId token : tokens) {
          if (token < 0 || token >= tokenizer.vocab_size()) fuzz::broken("tokens are in the vocabulary");
        }
        if (!is_valid_utf8(tokenizer.decode(tokens, special))) fuzz::broken("decoded text is valid UTF-8");
      }
    } catch (const std::runtime_error&) {  // its own regular expression gives up
    }
  } catch (const StartupError&) {
  }
  return 0;
}
