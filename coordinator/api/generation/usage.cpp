#include "coordinator/api/generation/usage.h"

namespace sinkstream {

Json usage_json(std::int64_t prompt_tokens, std::int64_t completion_tokens, const SessionUsage& session) {
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", 0}}},
          {"completion_tokens_details", {{"reasoning_tokens", 0}}},
          {"session",
           {{"seen_tokens", session.seen_tokens},
            {"pinned_tokens", session.pinned_tokens},
            {"resident_tokens", session.resident_tokens},
            {"evicted_tokens", session.evicted_tokens}}}};
}

}  // namespace sinkstream
