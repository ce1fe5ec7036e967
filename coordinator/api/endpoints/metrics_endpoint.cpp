// GET /metrics
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/metrics.h"

namespace sinkstream {

void add_metrics(Router& router, ApiContext& api) {
  router.add(
      {.method = "GET",
       .path = "/metrics",
       .handler =
           [&api](const std::shared_ptr<Exchange>& exchange) {
             exchange->respond({200, "text/plain; version=0.0.4; charset=utf-8", api.metrics.render(api)});
           },
       .probe = true});
}

}  // namespace sinkstream
