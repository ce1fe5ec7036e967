// GET /version
#include "coordinator/api/answer_format.h"
#include "coordinator/api/endpoints.h"

namespace sinkstream {

void add_version(Router& router) {
  router.add({"GET", "/version", [](const std::shared_ptr<Exchange>& exchange) {
                const Json version = {{"version", SINKSTREAM_VERSION}};
                exchange->respond({200, "application/json", to_text(version)});
              }});
}

}  // namespace sinkstream
