// POST /v1/sessions/{id}/append
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/engine_errors.h"
#include "coordinator/api/quota/quota_of_request.h"
#include "coordinator/api/request/generation_options.h"
#include "coordinator/api/request/unsupported_fields.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/served_model.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

// The I/O thread. One turn without an answer.
class Append : public std::enable_shared_from_this<Append> {
 public:
  Append(ApiContext& api, std::shared_ptr<Exchange> exchange, std::shared_ptr<SessionTurn> turn,
         std::shared_ptr<void> held_prompt, std::shared_ptr<QuotaUse> quota_use)
      : engine_(api.engine),
        exchange_(std::move(exchange)),
        turn_(std::move(turn)),
        held_prompt_(std::move(held_prompt)),
        quota_use_(std::move(quota_use)) {}

  void begin() {
    exchange_->on_abandoned([weak = weak_from_this()](AbandonCause) {
      if (const auto self = weak.lock()) self->abandon();
    });
    if (gone_) return drop();
    enter_engine();
  }

 private:
  void enter_engine() {
    turn_->enter_engine(engine_, [self = shared_from_this()](const Refused* refused) {
      if (refused) return self->take(*refused);
      if (self->gone_) return self->drop();
      self->ask();
    });
  }
  // The client has gone before the engine was asked.
  void drop() {
    turn_->release();
    exchange_->fail(left_before());
  }
  void ask() {
    Generate command;
    command.session = turn_->engine_id();
    command.expected_tokens = turn_->tokens_before();
    command.prompts = {turn_->prompt()};
    command.credit = 1;
    request_ = engine_.generate(std::move(command), [self = shared_from_this()](const Event& event) {
      std::visit([&](const auto& what) { self->take(what); }, event);
    });
  }

  void take(const Accepted&) {
    if (quota_use_) quota_use_->take_in();
    turn_->accept();
    exchange_->note_tokens({std::ssize(turn_->prompt()), 0});
  }
  void take(const Refused& event) {
    request_ = 0;
    if (!gone_ && turn_->may_ask_again(event)) return enter_engine();
    turn_->release();
    exchange_->fail(state_error(event, *turn_, turn_->tokens_before(), exchange_->request().id));
  }
  void take(const TurnEnded& event) {
    request_ = 0;
    turn_->settle(event);
    if (gone_) return;
    if (event.reason != FinishReason::length) return exchange_->fail(broken_off(event));
    exchange_->respond({200, "application/json", to_text(session_json(turn_->session()))});
  }
  template <typename Other>
  void take(const Other&) {}

  void abandon() {
    gone_ = true;
    if (request_ != 0) engine_.send(Cancel{request_});
  }

  EngineClient& engine_;
  const std::shared_ptr<Exchange> exchange_;
  const std::shared_ptr<SessionTurn> turn_;
  const std::shared_ptr<void> held_prompt_;
  const std::shared_ptr<QuotaUse> quota_use_;  // null: there is no quota
  RequestId request_ = 0;                      // 0: none is under way
  bool gone_ = false;
};

void append(ApiContext& api, const std::shared_ptr<Exchange>& exchange, const nlohmann::ordered_json& body) {
  api.availability.require();
  RequestFields fields(body);
  check_model(fields.string("model"), api.settings);
  refuse_tools(fields);
  const Request& request = exchange->request();
  const auto expected = read_expected_seen(fields);
  const auto turn = api.sessions.begin_turn(session_id_in(request.path), request, expected);
  const bool has_messages = fields.value("messages") != nullptr;
  std::vector<TokenId> prompt = read_session_prompt(fields, /*begins=*/turn->contents().tokens() == 0, api);
  if (has_messages == !prompt.empty()) {
    throw fields.error("prompt", "Send either 'prompt' or 'messages'.", "missing_required_parameter");
  }
  if (has_messages) {
    plan_chat_turn(*turn, fields, /*answers=*/false, api, *exchange);
  } else {
    turn->plan(std::move(prompt));
  }
  api.unknown_fields.note(request.id, fields.unknown());
  const auto given = static_cast<std::int64_t>(turn->prompt().size());
  const EngineLimits& limits = api.engine.limits();
  check_prompt_length(turn->tokens_before() + given, limits.session.endless() ? "auto" : "disabled",
                      limits.session);
  auto held = api.live_prompts.hold(given);
  auto quota_use = begin_quota_use(api, *exchange, given);
  const auto task = std::make_shared<Append>(api, exchange, turn, std::move(held), std::move(quota_use));
  api.executor->post([task] { task->begin(); });
}

}  // namespace

void add_session_append(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/sessions/:id/append", answer_once(api, append, /*reads_expected_seen=*/true),
              /*open=*/false,
              /*offload=*/true});
}

}  // namespace sinkstream
