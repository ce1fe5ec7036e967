// The endpoints, one file each.
#pragma once

#include "coordinator/api/api_context.h"
#include "coordinator/http/router.h"

namespace sinkstream {

// `service` outlives the router.
void add_chat_completions(Router& router, Service& service);
void add_completions(Router& router, Service& service);
void add_models(Router& router, Service& service);
void add_tokenize(Router& router, Service& service);
void add_detokenize(Router& router, Service& service);
void add_tokenizer_info(Router& router, Service& service);
void add_health(Router& router, Service& service);
void add_metrics(Router& router, Service& service);
void add_version(Router& router);
void add_openapi(Router& router);
void add_page(Router& router);

}  // namespace sinkstream
