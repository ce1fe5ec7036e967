// How many tokens each API key may have a minute, taken in and generated.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/message/message.h"

namespace sinkstream {

// What a key has left. It gets it back evenly, up to that of a minute.
struct TokenBudget {
  double left = 0;  // below nothing where more was generated than there was
  std::chrono::steady_clock::time_point at;
};

class TokenQuota;

// Of one request: its prompt is its key's again where it was not taken in. Any thread.
class QuotaUse {
 public:
  QuotaUse(TokenQuota& quota, std::shared_ptr<TokenBudget> budget, std::int64_t prompt_tokens)
      : quota_(quota), budget_(std::move(budget)), prompt_tokens_(prompt_tokens) {}
  ~QuotaUse();
  QuotaUse(const QuotaUse&) = delete;
  QuotaUse& operator=(const QuotaUse&) = delete;

  void take_in() { is_taken_in_ = true; }
  void generate();  // one token

 private:
  TokenQuota& quota_;
  const std::shared_ptr<TokenBudget> budget_;
  const std::int64_t prompt_tokens_;
  bool is_taken_in_ = false;
};

// What a key has left must cover a prompt before anything starts. How much will be generated is not known
// then: that is charged as it comes, and waited for by the key's next request. Any thread.
class TokenQuota {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit TokenQuota(std::optional<std::int64_t> tokens_per_minute) : per_minute_(tokens_per_minute) {}

  // Gives `headers` what the answer says of it. Null: any number may be had. Throws RequestError (429). The
  // quota must outlive what it gives.
  std::shared_ptr<QuotaUse> begin(const std::string& owner, std::int64_t prompt_tokens, TimePoint now,
                                  std::vector<Header>& headers);
  std::int64_t num_refusals() const;

 private:
  friend class QuotaUse;
  void charge(TokenBudget& budget, std::int64_t tokens);
  double seconds_to_have(double tokens, const TokenBudget& budget) const;
  std::vector<Header> headers_for(const TokenBudget& budget) const;

  const std::optional<std::int64_t> per_minute_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<TokenBudget>>
      budgets_;                    // by owner; guarded by mutex_, and so are they
  std::int64_t num_refusals_ = 0;  // guarded by mutex_
};

}  // namespace sinkstream
