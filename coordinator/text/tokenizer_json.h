// Reads a Hugging Face tokenizer.json into the parts that a Tokenizer is made of.
#pragma once

#include <filesystem>
#include <vector>

#include "coordinator/text/added_tokens.h"
#include "coordinator/text/byte_pair_encoding.h"
#include "coordinator/text/pre_tokenizer.h"
#include "worker/token_id.h"

namespace sinkstream {

struct TokenizerParts {
  std::vector<AddedToken> added_tokens;
  PreTokenizer pre_tokenizer;
  BytePairEncoding model;
  std::vector<TokenId> prefix, suffix;  // what the post-processor puts around a text
};

// Throws StartupError (ExitCode::model) naming file and field; what is not supported is refused by name.
TokenizerParts read_tokenizer_json(const std::filesystem::path& file);

}  // namespace sinkstream
