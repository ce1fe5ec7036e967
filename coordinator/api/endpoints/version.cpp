// GET /version
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/answer_format.h"

namespace sinkstream {

void add_version(Router& router) {
  router.add({"GET", "/version", [](const std::shared_ptr<Exchange>& exchange) {
                const Json version = {{"version", SINKSTREAM_VERSION}};
                exchange->respond({200, "application/json", to_text(version)});
              }});
}

}  // namespace sinkstream
