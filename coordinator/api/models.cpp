// GET /v1/models and /v1/models/{id}
#include "coordinator/api/answer_format.h"
#include "coordinator/api/endpoints.h"

namespace sinkstream {
namespace {

constexpr std::string_view kOneModel = "/v1/models/";

Json model_json(const Service& service) {
  const EngineLimits& limits = service.engine.limits();
  return {{"id", limits.model_name},
          {"object", "model"},
          {"created", service.started_at},
          {"owned_by", "sinkstream"},
          {"max_model_len", context_tokens(limits)},
          {"meta",
           {{"sink_tokens", limits.window.sink_tokens},
            {"window_tokens", limits.window.window_tokens},
            {"max_tokens", limits.max_tokens},
            {"end_tokens", limits.end_tokens}}}};
}

}  // namespace

void add_models(Router& router, Service& service) {
  router.add({"GET", "/v1/models", [&service](const std::shared_ptr<Exchange>& exchange) {
                const Json list = {{"object", "list"}, {"data", Json::array({model_json(service)})}};
                exchange->respond({200, "application/json", to_text(list)});
              }});
  router.add({"GET", "/v1/models/*", [&service](const std::shared_ptr<Exchange>& exchange) {
                check_model(exchange->request().path.substr(kOneModel.size()), service.engine.limits());
                exchange->respond({200, "application/json", to_text(model_json(service))});
              }});
}

}  // namespace sinkstream
