#include "coordinator/api/quota/quota_of_request.h"

#include <vector>

#include "coordinator/api/sessions/session_registry.h"

namespace sinkstream {

std::shared_ptr<QuotaUse> begin_quota_use(ApiContext& api, Exchange& exchange, std::int64_t prompt_tokens) {
  std::vector<Header> headers;
  const std::string owner = api.sessions.owner_of(exchange.request());
  std::shared_ptr<QuotaUse> use = api.quota.begin(owner, prompt_tokens, api.executor->now(), headers);
  for (Header& header : headers) exchange.add_header(std::move(header));
  return use;
}

}  // namespace sinkstream
