// GET and DELETE /v1/sessions/{id}
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

void show(ApiContext& api, const std::shared_ptr<Exchange>& exchange) {
  const Request& request = exchange->request();
  const auto session = api.sessions.find(session_id_in(request.path), request);
  api.sessions.on_disk()
      .when_written(exchange, session->facts().id)
      ->respond({200, "application/json", to_text(session_json(*session))});
}

void remove(ApiContext& api, const std::shared_ptr<Exchange>& exchange) {
  const Request& request = exchange->request();
  const auto session = api.sessions.find_to_remove(session_id_in(request.path), request);
  api.sessions.remove(*session);
  const Json answer = {{"id", session->facts().id}, {"object", "session.deleted"}, {"deleted", true}};
  api.sessions.on_disk()
      .when_removed(exchange, session->facts().id)
      ->respond({200, "application/json", to_text(answer)});
}

}  // namespace

void add_session(Router& router, ApiContext& api) {
  router.add({"GET", "/v1/sessions/:id",
              [&api](const std::shared_ptr<Exchange>& exchange) { show(api, exchange); }});
  router.add({"DELETE", "/v1/sessions/:id",
              [&api](const std::shared_ptr<Exchange>& exchange) { remove(api, exchange); }});
}

}  // namespace sinkstream
