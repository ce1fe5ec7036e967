#include "coordinator/api/served_model.h"

#include <algorithm>

namespace sinkstream {

std::string check_model(const std::optional<std::string>& name, const ApiSettings& settings) {
  constexpr std::size_t kMaxQuotedBytes = 100;
  if (!name) return settings.model_name;
  const auto& aliases = settings.model_aliases;
  if (*name == settings.model_name || std::ranges::find(aliases, *name) != aliases.end()) return *name;
  throw RequestError{404, "not_found_error", "model_not_found",
                     "There is no model '" + name->substr(0, kMaxQuotedBytes) + "' here; this server has '" +
                         settings.model_name + "'.",
                     "model"};
}

std::vector<TokenId> encode_text(const ApiContext& api, std::string_view text, const EncodeOptions& options,
                                 const std::string& param) {
  std::vector<TokenId> tokens;
  try {
    tokens = api.tokenizer.encode(text, options);
  } catch (const std::runtime_error& error) {
    throw bad_request(std::string("The tokenizer cannot take this text: ") + error.what(), param);
  }
  const auto foreign = std::ranges::find_if(
      tokens, [size = api.engine.limits().vocab_size](TokenId token) { return token >= size; });
  if (foreign != tokens.end()) {
    throw bad_request("The text holds '" + api.tokenizer.token_string(*foreign) +
                          "', a token of the tokenizer that the model does not have.",
                      param);
  }
  return tokens;
}

std::int64_t begin_with_sink(std::vector<TokenId>& tokens, const EngineLimits& limits) {
  if (!limits.sink_token || (!tokens.empty() && tokens.front() == *limits.sink_token)) return 0;
  tokens.insert(tokens.begin(), *limits.sink_token);
  return 1;
}

std::optional<TokenId> first_token(const ApiContext& api) {
  if (const auto sink = api.engine.limits().sink_token) return sink;
  if (api.tokenizer.num_tokens_before_text() == 0) return std::nullopt;
  return api.tokenizer.encode("").front();
}

std::int64_t max_model_len(const ApiContext& api) {
  const SessionShape& session = api.engine.limits().session;
  const std::int64_t remembered = session.remembered_tokens();
  return session.endless() ? std::max(api.settings.max_tokens, remembered) : remembered;
}

}  // namespace sinkstream
