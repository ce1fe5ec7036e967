// The endpoints, one file each.
#pragma once

#include "coordinator/api/api_context.h"
#include "coordinator/http/router.h"

namespace sinkstream {

// `api` outlives the router.
void add_chat_completions(Router& router, ApiContext& api);
void add_completions(Router& router, ApiContext& api);
void add_models(Router& router, ApiContext& api);
void add_sessions(Router& router, ApiContext& api);
void add_session(Router& router, ApiContext& api);
void add_session_append(Router& router, ApiContext& api);
void add_session_fork(Router& router, ApiContext& api);
void add_session_rollback(Router& router, ApiContext& api);
void add_session_transcript(Router& router, ApiContext& api);
void add_tokenize(Router& router, ApiContext& api);
void add_detokenize(Router& router, ApiContext& api);
void add_tokenizer_info(Router& router, ApiContext& api);
void add_health(Router& router, ApiContext& api);
void add_metrics(Router& router, ApiContext& api);
void add_version(Router& router);
void add_openapi(Router& router);
void add_page(Router& router);

}  // namespace sinkstream
