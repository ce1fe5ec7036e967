// POST /v1/sessions/{id}/rollback
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/retries/answer_records.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

void roll_back(ApiContext& api, const std::shared_ptr<Exchange>& exchange,
               const nlohmann::ordered_json& body) {
  api.availability.require();
  RequestFields fields(body);
  const Request& request = exchange->request();
  const auto turn = api.sessions.begin_turn(session_id_in(request.path), request);
  const auto to = read_position(fields, "to", *turn);
  if (!to) throw fields.error("to", "'to' is missing.", "missing_required_parameter");
  api.unknown_fields.note(request.id, fields.unknown());
  api.executor->post([&api, exchange, turn, to = *to] {
    const RollBackSession command{
        .request = 0, .session = turn->session().facts().engine_id, .to = turn->in_engine(to)};
    api.engine.ask(command, [&api, exchange, turn, to](const Event& event) {
      if (const auto* refused = std::get_if<Refused>(&event)) {
        const RequestError error = state_error(*refused, *turn, to, exchange->request().id);
        turn->release();
        return exchange->fail(error);
      }
      turn->roll_back(to, std::get<SessionChanged>(event).pending);
      api.records.forget_turns(turn->session().facts().id);
      exchange->respond({200, "application/json", to_text(session_json(turn->session()))});
    });
  });
}

}  // namespace

void add_session_rollback(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/sessions/:id/rollback", answer_once(api, roll_back, /*reads_expected_seen=*/false),
              /*open=*/false,
              /*offload=*/true});
}

}  // namespace sinkstream
