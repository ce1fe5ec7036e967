#include "coordinator/api/generation/text_prompt.h"

#include <algorithm>

#include "coordinator/api/request/request_fields.h"
#include "coordinator/api/served_model.h"

namespace sinkstream {
bool has_text(const std::vector<TokenId>& tokens, const Tokenizer& tokenizer) {
  return std::any_of(tokens.begin(), tokens.end(), [&tokenizer](TokenId token) {
    return !tokenizer.is_special(token) && !tokenizer.token_bytes(token).empty();
  });
}

Prompt text_prompt(const std::string& text, bool add_special_tokens, const ApiContext& api,
                   const std::string& name) {
  if (text.empty()) throw bad_request("'" + name + "' must not be empty.", name);
  std::vector<TokenId> tokens = encode_text(api, text, {.add_special_tokens = add_special_tokens}, name);
  std::int64_t hidden_tokens = 0;  // those that the text did not ask for
  if (add_special_tokens) {
    hidden_tokens = api.tokenizer.num_tokens_before_text() + begin_with_sink(tokens, api.engine.limits());
  }
  const bool continues_text = has_text(tokens, api.tokenizer);
  return {std::move(tokens), hidden_tokens, continues_text};
}

Prompt token_prompt(const nlohmann::ordered_json& ids, std::int64_t vocab_size, const Tokenizer& tokenizer,
                    const std::string& name) {
  if (ids.empty()) throw bad_request("'" + name + "' must not be empty.", name);
  std::vector<TokenId> tokens = token_id_values(ids, vocab_size, name);
  const bool continues_text = has_text(tokens, tokenizer);
  return {std::move(tokens), /*hidden_tokens=*/0, continues_text};
}

}  // namespace sinkstream
