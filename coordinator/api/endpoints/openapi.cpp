// GET /openapi.json: the description of this API in coordinator/api/endpoints/openapi.json. Tests hold the
// answers against it.
#include "coordinator/api/endpoints/endpoints.h"

namespace sinkstream {

// Made from openapi.json by the build.
extern const char* const kOpenApiJson;

void add_openapi(Router& router) {
  router.add({"GET", "/openapi.json", [](const std::shared_ptr<Exchange>& exchange) {
                exchange->respond({200, "application/json", kOpenApiJson});
              }});
}

}  // namespace sinkstream
