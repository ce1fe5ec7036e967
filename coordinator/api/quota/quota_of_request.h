// What a request's key may still have.
#pragma once

#include <cstdint>
#include <memory>

#include "coordinator/api/api_context.h"
#include "coordinator/api/quota/token_quota.h"
#include "coordinator/http/exchange.h"

namespace sinkstream {

// Charges the prompt, and says in the answer's headers what is left. Null: there is no quota. Throws
// RequestError (429).
std::shared_ptr<QuotaUse> begin_quota_use(ApiContext& api, Exchange& exchange, std::int64_t prompt_tokens);

}  // namespace sinkstream
