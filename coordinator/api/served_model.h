// The model as requests meet it: its names, its tokens, and how much of a session it remembers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/api_context.h"

namespace sinkstream {

// The name to answer with: the one that was asked for, else the model's own. Throws RequestError (404
// model_not_found) unless it is the served model's or one of its aliases.
std::string check_model(const std::optional<std::string>& name, const ApiSettings& settings);

// Throws RequestError (400) naming `param` when the tokenizer gives up on the text, or makes a token of it
// that the model does not have.
std::vector<TokenId> encode_text(const ApiContext& api, std::string_view text, const EncodeOptions& options,
                                 const std::string& param);

// Puts the model's own sink before tokens that do not begin with it, if it has one; returns how many it
// added.
std::int64_t begin_with_sink(std::vector<TokenId>& tokens, const EngineLimits& limits);

// What every prompt that is given as text begins with: the model's own sink, else what its tokenizer puts
// first. Nothing: prompts may begin with anything.
std::optional<TokenId> first_token(const ApiContext& api);

// What clients are told to keep prompt and answer within. They cut prompts to it and take it, less the
// prompt, for max_tokens; so where input is endless it is the longest answer, which bounds what they ask for
// without making them cut.
std::int64_t max_model_len(const ApiContext& api);

}  // namespace sinkstream
