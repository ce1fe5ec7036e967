// POST /v1/sessions/{id}/fork
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/engine_errors.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

void answer(ApiContext& api, const std::shared_ptr<Exchange>& exchange, SessionTurn& turn, std::int64_t at,
            const std::shared_ptr<ClientSession>& copy, const Event& event) {
  if (const auto* refused = std::get_if<Refused>(&event)) {
    const RequestError error = state_error(*refused, turn, at, exchange->request().id);
    turn.release();
    api.sessions.forget(*copy);
    return exchange->fail(error);
  }
  turn.release();
  copy->update([&](SessionContents& contents) {
    contents.pending = std::ssize(std::get<SessionChanged>(event).pending);
  });
  copy->end_turn(api.sessions.now());
  exchange->respond({200, "application/json", to_text(session_json(*copy))});
}

void fork(ApiContext& api, const std::shared_ptr<Exchange>& exchange, const nlohmann::ordered_json& body) {
  api.availability.require();
  RequestFields fields(body);
  const Request& request = exchange->request();
  const auto turn = api.sessions.begin_turn(session_id_in(request.path), request);
  const std::int64_t at = read_position(fields, "at", *turn).value_or(turn->contents().tokens());
  api.unknown_fields.note(request.id, fields.unknown());

  SessionContents contents = turn->contents();
  contents.truncate(at);
  const auto copy = api.sessions.add(turn->session().facts(), std::move(contents));
  api.executor->post([&api, exchange, turn, copy, at] {
    api.engine.ask(ForkSession{.request = 0,
                               .session = copy->facts().engine_id,
                               .from = turn->session().facts().engine_id,
                               .at = turn->in_engine(at)},
                   [&api, exchange, turn, copy, at](const Event& event) {
                     answer(api, exchange, *turn, at, copy, event);
                   });
  });
}

}  // namespace

void add_session_fork(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/sessions/:id/fork", answer_once(api, fork, /*reads_expected_seen=*/false),
              /*open=*/false,
              /*offload=*/true});
}

}  // namespace sinkstream
