#include "coordinator/api/quota/token_quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/durations.h"
#include "coordinator/http/message/request_error.h"

namespace sinkstream {
namespace {

constexpr double kMinute = 60;

// As OpenAI writes it: "6m0s", "1s", "120ms".
std::string show_duration(double seconds) {
  if (seconds < 1) return fmt::format("{}ms", static_cast<std::int64_t>(std::ceil(1000 * seconds)));
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
  const std::int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  std::string text = hours > 0 ? fmt::format("{}h", hours) : "";
  if (whole >= 60) text += fmt::format("{}m", minutes);
  return text + fmt::format("{}s", whole % 60);
}

RequestError too_many_tokens(const std::string& message, std::vector<Header> headers) {
  RequestError error{429, "tokens", "rate_limit_exceeded", message};
  error.headers = std::move(headers);
  return error;
}

}  // namespace

QuotaUse::~QuotaUse() {
  if (!is_taken_in_) quota_.charge(*budget_, -prompt_tokens_);
}

void QuotaUse::generate() {
  quota_.charge(*budget_, 1);
}

std::shared_ptr<QuotaUse> TokenQuota::begin(const std::string& owner, std::int64_t prompt_tokens,
                                            TimePoint now, std::vector<Header>& headers) {
  if (!per_minute_) return nullptr;
  const auto most = static_cast<double>(*per_minute_);
  const std::lock_guard lock(mutex_);
  auto& budget = budgets_[owner];
  if (!budget) budget = std::make_shared<TokenBudget>(TokenBudget{most, now});
  budget->left = std::min(most, budget->left + to_seconds(now - budget->at) * most / kMinute);
  budget->at = now;
  const auto wanted = static_cast<double>(std::max<std::int64_t>(prompt_tokens, 1));
  if (wanted > budget->left) {
    ++num_refusals_;
    std::vector<Header> told = headers_for(*budget);
    if (wanted > most) {
      told.push_back({"x-should-retry", "false"});
      throw too_many_tokens(
          fmt::format("The prompt has {} tokens; a key may have {} a minute (server.tokens_per_minute).",
                      prompt_tokens, *per_minute_),
          std::move(told));
    }
    told.push_back({"Retry-After", fmt::format("{}", std::ceil(seconds_to_have(wanted, *budget)))});
    throw too_many_tokens(
        fmt::format("Your key may have {} tokens a minute (server.tokens_per_minute); it has "
                    "{} left, and the prompt has {}.",
                    *per_minute_, std::floor(budget->left), prompt_tokens),
        std::move(told));
  }
  budget->left -= static_cast<double>(prompt_tokens);
  headers = headers_for(*budget);
  return std::make_shared<QuotaUse>(*this, budget, prompt_tokens);
}

std::int64_t TokenQuota::num_refusals() const {
  const std::lock_guard lock(mutex_);
  return num_refusals_;
}

void TokenQuota::charge(TokenBudget& budget, std::int64_t tokens) {
  const std::lock_guard lock(mutex_);
  budget.left -= static_cast<double>(tokens);
}

double TokenQuota::seconds_to_have(double tokens, const TokenBudget& budget) const {
  return std::max(0.0, tokens - budget.left) * kMinute / static_cast<double>(*per_minute_);
}

std::vector<Header> TokenQuota::headers_for(const TokenBudget& budget) const {
  const auto left = static_cast<std::int64_t>(std::max(0.0, std::floor(budget.left)));
  const double until_full = seconds_to_have(static_cast<double>(*per_minute_), budget);
  return {{"x-ratelimit-limit-tokens", std::to_string(*per_minute_)},
          {"x-ratelimit-remaining-tokens", std::to_string(left)},
          {"x-ratelimit-reset-tokens", show_duration(until_full)}};
}

}  // namespace sinkstream
