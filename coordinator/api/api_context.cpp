#include "coordinator/api/api_context.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sinkstream {

void Availability::fail(const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (failed_) return;
  message_ = message;
  failed_ = true;
}

std::optional<std::string> Availability::failure() const {
  if (!failed_) return std::nullopt;
  const std::lock_guard lock(mutex_);
  return message_;
}

void Availability::require() const {
  if (const auto message = failure()) throw unavailable("The model is not available: " + *message);
  if (draining_) throw unavailable("The server is ending and takes no new requests.");
}

void UnknownFieldLog::note(const std::string& request_id, const std::vector<std::string>& names) {
  constexpr std::size_t kMaxNames = 256;
  constexpr std::size_t kMaxNameBytes = 64;
  const std::lock_guard lock(mutex_);
  for (const std::string& name : names) {
    const std::string shown = name.substr(0, kMaxNameBytes);
    if (noted_.size() >= kMaxNames || !noted_.insert(shown).second) continue;
    const std::string quoted =
        nlohmann::json(shown).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    spdlog::info("{} sends the unknown field {}; it is ignored, here and from now on", request_id, quoted);
  }
}

void Warnings::give(Exchange& exchange, const std::string& text) {
  exchange.add_header({"x-sinkstream-warning", text});
  const std::lock_guard lock(mutex_);
  if (logged_.insert(text).second) spdlog::warn("{}: {} (said once)", exchange.request().id, text);
}

std::shared_ptr<void> LivePrompts::hold(std::int64_t tokens) {
  if (tokens > max_tokens_) {
    throw bad_request(fmt::format("The prompts have {} tokens; this server takes {} at once "
                                  "(server.max_live_prompt_tokens).",
                                  tokens, max_tokens_),
                      "prompt");
  }
  if (held_->fetch_add(tokens) + tokens > max_tokens_) {
    *held_ -= tokens;
    throw too_busy("The server holds as many prompt tokens as it can; try again soon.");
  }
  return {nullptr, [held = held_, tokens](void*) { *held -= tokens; }};
}

std::string check_model(const std::optional<std::string>& name, const EngineLimits& limits) {
  constexpr std::size_t kMaxQuotedBytes = 100;
  if (!name) return limits.model_name;
  const auto& aliases = limits.model_aliases;
  if (*name == limits.model_name || std::ranges::find(aliases, *name) != aliases.end()) return *name;
  throw RequestError{404, "not_found_error", "model_not_found",
                     "There is no model '" + name->substr(0, kMaxQuotedBytes) + "' here; this server has '" +
                         limits.model_name + "'.",
                     "model"};
}

std::vector<TokenId> encode_text(const Service& service, std::string_view text, const EncodeOptions& options,
                                 const std::string& param) {
  std::vector<TokenId> tokens;
  try {
    tokens = service.tokenizer.encode(text, options);
  } catch (const std::runtime_error& error) {
    throw bad_request(std::string("The tokenizer cannot take this text: ") + error.what(), param);
  }
  const auto foreign = std::ranges::find_if(
      tokens, [size = service.engine.limits().vocab_size](TokenId token) { return token >= size; });
  if (foreign != tokens.end()) {
    throw bad_request("The text holds '" + service.tokenizer.token_string(*foreign) +
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

std::optional<TokenId> first_token(const Service& service) {
  if (const auto sink = service.engine.limits().sink_token) return sink;
  if (service.tokenizer.num_tokens_before_text() == 0) return std::nullopt;
  return service.tokenizer.encode("").front();
}

bool makes_steps(const EngineStats& stats, const EngineLimits& limits) {
  return stats.seconds_since_step < limits.stuck_seconds / 2;
}

const RankStatus* silent_rank(const EngineStats& stats) {
  const auto silent = std::ranges::find(stats.ranks, false, &RankStatus::up);
  return silent == stats.ranks.end() ? nullptr : &*silent;
}

std::int64_t context_tokens(const EngineLimits& limits) {
  if (limits.max_context > 0) return limits.max_context;
  return limits.window.sink_tokens + limits.window.window_tokens;
}

std::int64_t max_model_len(const EngineLimits& limits) {
  return limits.max_context > 0 ? limits.max_context : std::max(limits.max_tokens, context_tokens(limits));
}

}  // namespace sinkstream
