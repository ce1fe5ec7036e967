#include "coordinator/api/api_context.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

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

}  // namespace sinkstream
