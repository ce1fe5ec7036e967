// POST /v1/sessions/{id}/rollback
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/engine_errors.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/retries/answer_records.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

// The I/O thread.
class RollBack : public std::enable_shared_from_this<RollBack> {
 public:
  RollBack(ApiContext& api, std::shared_ptr<Exchange> exchange, std::shared_ptr<SessionTurn> turn,
           std::int64_t to)
      : api_(api), exchange_(std::move(exchange)), turn_(std::move(turn)), to_(to) {}

  void begin() {
    if (turn_->engine_id() == kNoSession) return take(refused_for(RefusalReason::out_of_reach));
    const RollBackSession command{.request = 0, .session = turn_->engine_id(), .to = to_};
    api_.engine.ask(command, [self = shared_from_this()](const Event& event) {
      if (const auto* refused = std::get_if<Refused>(&event)) return self->take(*refused);
      self->end(std::get<SessionChanged>(event).pending);
    });
  }

 private:
  void take(const Refused& refused) {
    if (can_do_without_engine(refused) && turn_->can_be_made_anew(to_)) {
      turn_->leave_engine();
      return end({});
    }
    const RequestError error = state_error(refused, *turn_, to_, exchange_->request().id);
    turn_->release();
    exchange_->fail(error);
  }
  void end(const std::vector<TokenId>& pending) {
    // As long as no other turn can begin.
    api_.records.forget_turns(turn_->session().facts().id);
    turn_->roll_back(to_, pending);
    exchange_->respond({200, "application/json", to_text(session_json(turn_->session()))});
  }

  ApiContext& api_;
  const std::shared_ptr<Exchange> exchange_;
  const std::shared_ptr<SessionTurn> turn_;
  const std::int64_t to_;
};

void roll_back(ApiContext& api, const std::shared_ptr<Exchange>& exchange,
               const nlohmann::ordered_json& body) {
  api.availability.require();
  RequestFields fields(body);
  const Request& request = exchange->request();
  const auto turn = api.sessions.begin_turn(session_id_in(request.path), request);
  const auto to = read_position(fields, "to", *turn);
  if (!to) throw fields.error("to", "'to' is missing.", "missing_required_parameter");
  api.unknown_fields.note(request.id, fields.unknown());
  const auto task = std::make_shared<RollBack>(api, exchange, turn, *to);
  api.executor->post([task] { task->begin(); });
}

}  // namespace

void add_session_rollback(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/sessions/:id/rollback", answer_once(api, roll_back, /*reads_expected_seen=*/false),
              /*open=*/false,
              /*offload=*/true});
}

}  // namespace sinkstream
