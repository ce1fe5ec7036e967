// GET /v1/models and /v1/models/{id}
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/answer_format.h"
#include "coordinator/api/served_model.h"

namespace sinkstream {
namespace {

constexpr std::string_view kOneModel = "/v1/models/";

// An alias looks like a model of its own, whose root is the one that is served.
Json model_json(const std::string& name, const ApiContext& api) {
  const EngineLimits& limits = api.engine.limits();
  return {{"id", name},
          {"object", "model"},
          {"created", api.started_at},
          {"owned_by", "sinkstream"},
          {"root", api.settings.model_name},
          {"parent", nullptr},
          {"max_model_len", max_model_len(api)},
          {"meta",
           {{"sink_tokens", limits.session.window.sink_tokens},
            {"window_tokens", limits.session.window.window_tokens},
            {"max_tokens", api.settings.max_tokens},
            {"end_tokens", limits.end_tokens}}}};
}

Json list_json(const ApiContext& api) {
  Json models = Json::array({model_json(api.settings.model_name, api)});
  for (const std::string& alias : api.settings.model_aliases) models.push_back(model_json(alias, api));
  return {{"object", "list"}, {"data", std::move(models)}};
}

}  // namespace

void add_models(Router& router, ApiContext& api) {
  router.add({"GET", "/v1/models", [&api](const std::shared_ptr<Exchange>& exchange) {
                exchange->respond({200, "application/json", to_text(list_json(api))});
              }});
  router.add({"GET", "/v1/models/*", [&api](const std::shared_ptr<Exchange>& exchange) {
                const std::string name =
                    check_model(exchange->request().path.substr(kOneModel.size()), api.settings);
                exchange->respond({200, "application/json", to_text(model_json(name, api))});
              }});
}

}  // namespace sinkstream
