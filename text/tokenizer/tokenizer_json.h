// Reads a Hugging Face tokenizer.json into the parts that a Tokenizer is made of.
#pragma once

#include <filesystem>
#include <vector>

#include "base/token_id.h"
#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/byte_pair_encoding.h"
#include "text/tokenizer/steps/decoder.h"
#include "text/tokenizer/steps/normalizer.h"
#include "text/tokenizer/steps/pre_tokenizer.h"

namespace sinkstream {

struct TokenizerParts {
  std::vector<AddedToken> added_tokens;  // no two of one id, content, or normal form
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  BytePairEncoding model;
  std::vector<TokenId> prefix, suffix;  // what the post-processor puts around a text
  Decoder decoder;
};

// Throws StartupError (ExitCode::model) naming file and field; what is not supported is refused by name.
// "truncation" and "padding" do not apply to a server's prompts and are not read.
TokenizerParts read_tokenizer_json(const std::filesystem::path& file);

}  // namespace sinkstream
