// GET /metrics
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/metrics.h"

namespace sinkstream {

void add_metrics(Router& router, Service& service) {
  router.add({.method = "GET",
              .path = "/metrics",
              .handler =
                  [&service](const std::shared_ptr<Exchange>& exchange) {
                    exchange->respond({200, "text/plain; version=0.0.4; charset=utf-8",
                                       service.metrics.render(service.engine)});
                  },
              .probe = true});
}

}  // namespace sinkstream
