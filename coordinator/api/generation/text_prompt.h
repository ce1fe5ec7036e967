// Prompts of /v1/completions, as text or as token ids.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "coordinator/api/api_context.h"
#include "coordinator/api/generation/choice.h"

namespace sinkstream {

// Whether a prompt has any text that an answer could go on with.
bool has_text(const std::vector<TokenId>& tokens, const Tokenizer& tokenizer);

// Throw RequestError (400) naming `name`.
Prompt text_prompt(const std::string& text, bool add_special_tokens, const ApiContext& api,
                   const std::string& name);
Prompt token_prompt(const nlohmann::ordered_json& ids, std::int64_t vocab_size, const Tokenizer& tokenizer,
                    const std::string& name);

}  // namespace sinkstream
