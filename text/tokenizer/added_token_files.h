// Tokens that only the files beside a tokenizer.json define, by the rules of `transformers` (5.24):
// - tokenizer_config.json's "added_tokens_decoder" counts, or else added_tokens.json, in the order of ids;
// - then the tokens that are named: "eos_token" and the like, and the extra special tokens, of
//   tokenizer_config.json and, without an "added_tokens_decoder", of special_tokens_map.json.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "base/json_field.h"
#include "text/tokenizer/added_tokens.h"

namespace sinkstream {

// `id`: what the file says it is. `token.id` is not set.
struct DefinedToken {
  JsonField place;
  AddedToken token;
  std::optional<std::int64_t> id;
  bool redefines = false;  // its flags count also where tokenizer.json has that token
};

// The flags of an added token's object; a special token is not normalized unless it says so.
AddedToken read_added_token(const JsonField& entry);

// In the order in which they are added. Throws StartupError (ExitCode::model) naming file and field.
// `known`: tokenizer.json's tokens; those that are named there as special become special.
std::vector<DefinedToken> read_added_token_files(const std::filesystem::path& directory,
                                                 const std::vector<AddedToken>& known);

}  // namespace sinkstream
