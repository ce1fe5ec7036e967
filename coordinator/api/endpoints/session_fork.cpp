// POST /v1/sessions/{id}/fork
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/engine_errors.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

// The I/O thread.
class Fork : public std::enable_shared_from_this<Fork> {
 public:
  Fork(ApiContext& api, std::shared_ptr<Exchange> exchange, std::shared_ptr<SessionTurn> turn,
       std::int64_t at, std::shared_ptr<ClientSession> copy)
      : api_(api), exchange_(std::move(exchange)), turn_(std::move(turn)), at_(at), copy_(std::move(copy)) {}

  // The engine copies what it has; else the copy enters it when it is used.
  void begin() {
    const Refused not_there = refused_for(RefusalReason::out_of_reach);
    if (turn_->engine_id() == kNoSession) return take(not_there);
    const SessionId name = api_.sessions.in_engine().name(*copy_);
    if (name == kNoSession) return take(not_there);  // it was deleted already
    const ForkSession command{.request = 0, .session = name, .from = turn_->engine_id(), .at = at_};
    api_.engine.ask(command, [self = shared_from_this()](const Event& event) {
      if (const auto* refused = std::get_if<Refused>(&event)) return self->take(*refused);
      self->end(std::ssize(std::get<SessionChanged>(event).pending));
    });
  }

 private:
  void take(const Refused& refused) {
    copy_->leave_engine();
    if (can_do_without_engine(refused) && turn_->can_be_made_anew(at_)) return end(0);
    const RequestError error = state_error(refused, *turn_, at_, exchange_->request().id);
    turn_->release();
    api_.sessions.remove(*copy_);
    exchange_->fail(error);
  }
  void end(std::int64_t pending) {
    turn_->release();
    copy_->update([&](SessionContents& contents) { contents.pending = pending; });
    copy_->end_turn(api_.sessions.now());
    api_.sessions.on_disk()
        .when_written(exchange_, copy_->facts().id)
        ->respond({200, "application/json", to_text(session_json(*copy_))});
  }

  ApiContext& api_;
  const std::shared_ptr<Exchange> exchange_;
  const std::shared_ptr<SessionTurn> turn_;
  const std::int64_t at_;
  const std::shared_ptr<ClientSession> copy_;
};

void fork(ApiContext& api, const std::shared_ptr<Exchange>& exchange, const nlohmann::ordered_json& body) {
  api.availability.require();
  RequestFields fields(body);
  const Request& request = exchange->request();
  const auto expected = read_expected_seen(fields);
  const auto turn = api.sessions.begin_turn(session_id_in(request.path), request, expected);
  const std::int64_t at = read_position(fields, "at", *turn).value_or(turn->contents().tokens());
  api.unknown_fields.note(request.id, fields.unknown());

  SessionContents contents = turn->contents();
  contents.truncate(at);
  const auto copy = api.sessions.add(turn->session().facts(), std::move(contents), &turn->session());
  const auto task = std::make_shared<Fork>(api, exchange, turn, at, copy);
  api.executor->post([task] { task->begin(); });
}

}  // namespace

void add_session_fork(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/sessions/:id/fork", answer_once(api, fork, /*reads_expected_seen=*/false),
              /*open=*/false,
              /*offload=*/true});
}

}  // namespace sinkstream
