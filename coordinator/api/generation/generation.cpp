#include "coordinator/api/generation/generation.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <variant>

#include "coordinator/api/generation/answer.h"
#include "coordinator/api/generation/choice_turn.h"
#include "coordinator/api/generation/engine_errors.h"
#include "coordinator/api/generation/generation_budget.h"
#include "coordinator/api/generation/usage.h"
#include "coordinator/api/metrics.h"
#include "coordinator/api/quota/quota_of_request.h"
#include "coordinator/api/sessions/session_request.h"
#include "coordinator/api/sessions/session_turn.h"

namespace sinkstream {
namespace {

using Clock = std::chrono::steady_clock;

const char* to_label(AbandonCause cause) {
  switch (cause) {
    case AbandonCause::client_left:
      return "client_left";
    case AbandonCause::client_stalled:
      return "client_stalled";
    case AbandonCause::server_ended:
      break;
  }
  return "server_ended";
}

// The I/O thread only, but for its start and for the task that writes a whole answer.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // `held_prompts` is kept as long as the prompts are. `quota_use`: null where there is no quota.
  Generation(ApiContext& api, std::shared_ptr<Exchange> exchange, GenerationSpec spec,
             std::shared_ptr<void> held_prompts, std::shared_ptr<QuotaUse> quota_use);

  void begin();

 private:
  struct Running {
    ChoiceTurn turn;
    std::int64_t max_tokens;  // of its answer
    Clock::time_point last_token = {};
  };

  void enter_engine();
  void drop();
  void generate();
  void take_event(Event event);
  void take(const Accepted& event);
  void take(const Refused& event);
  void take(TokenEvent event);
  void take(const TurnEnded& event);
  void take(const SessionChanged&) {}
  void take(const SlotWanted&) {}

  void take_token(std::size_t index, TokenEvent event, bool own);
  void observe_token(Running& choice);
  void grant(std::size_t index);
  void grant_all();
  void end_choice(std::size_t index, const char* reason, std::optional<TokenId> stop_token = std::nullopt);
  void complete();
  void settle_session(const TurnEnded& event);
  void abandon(AbandonCause cause);
  void cancel();

  Json usage() const;
  std::int64_t completion_tokens() const;
  void note_tokens();

  EngineClient& engine_;
  Metrics& metrics_;
  const std::weak_ptr<Executor> executor_;
  const std::shared_ptr<Exchange> exchange_;
  const GenerationSpec spec_;
  const std::shared_ptr<void> held_prompts_;
  const std::shared_ptr<QuotaUse> quota_use_;
  Generate command_;
  Answer answer_;
  const Tokenizer& tokenizer_;

  RequestId request_ = 0;  // 0: nothing was asked of the engine yet
  std::vector<Running> choices_;
  std::size_t unfinished_;      // turns
  std::optional<EndTurn> end_;  // of a session's turn, where a stop string came
  bool over_ = false;           // failed, refused or abandoned: what still comes is dropped
  bool first_token_seen_ = false;
};

Generation::Generation(ApiContext& api, std::shared_ptr<Exchange> exchange, GenerationSpec spec,
                       std::shared_ptr<void> held_prompts, std::shared_ptr<QuotaUse> quota_use)
    : engine_(api.engine),
      metrics_(api.metrics),
      executor_(api.executor),
      exchange_(std::move(exchange)),
      spec_(std::move(spec)),
      held_prompts_(std::move(held_prompts)),
      quota_use_(std::move(quota_use)),
      command_(generate_command(spec_, api.engine.limits())),
      answer_(exchange_, spec_, [this] { return usage(); }),
      tokenizer_(api.tokenizer),
      unfinished_(spec_.num_choices()) {
  const EngineLimits& limits = engine_.limits();
  const bool may_stop = !spec_.options.stop.empty();
  for (std::size_t i = 0; i < spec_.num_choices(); ++i) {
    const Prompt& prompt = spec_.prompt_of(i);
    choices_.push_back({ChoiceTurn(Choice(api.tokenizer, spec_.options, prompt),
                                   tokens_before(spec_) + static_cast<std::int64_t>(prompt.tokens.size()),
                                   shape_of(spec_, limits).window, CreditWindow(command_.credit), may_stop),
                        longest_answer(spec_, prompt, limits)});
  }
}

void Generation::begin() {
  // The exchange must not keep the generation alive, nor the other way round.
  exchange_->on_abandoned([weak = weak_from_this()](AbandonCause cause) {
    if (const auto self = weak.lock()) self->abandon(cause);
  });
  if (over_) return drop();
  exchange_->on_room([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->grant_all();
  });
  if (spec_.session) return enter_engine();
  generate();
}

void Generation::enter_engine() {
  spec_.session->enter_engine(engine_, [self = shared_from_this()](const Refused* refused) {
    if (refused) return self->take(*refused);
    if (self->over_) return self->drop();
    self->command_.session = self->spec_.session->engine_id();
    self->generate();
  });
}

// The client has gone before the engine was asked.
void Generation::drop() {
  if (spec_.session) spec_.session->release();
  exchange_->fail(left_before());
}

void Generation::generate() {
  request_ = engine_.generate(
      command_, [self = shared_from_this()](Event event) { self->take_event(std::move(event)); });
}

// ---- events

void Generation::take_event(Event event) {
  std::visit([this](auto& what) { take(std::move(what)); }, event);
}

void Generation::take(const Accepted&) {
  if (quota_use_) quota_use_->take_in();
  if (spec_.session) {
    spec_.session->accept();
    note_tokens();
  }
  if (over_) return;
  answer_.begin();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    answer_.show(i, choices_[i].turn.opening(spec_.prompt_of(i)));
  }
}

void Generation::take(const Refused& event) {
  if (spec_.session && !over_ && spec_.session->may_ask_again(event)) return enter_engine();
  unfinished_ = 0;
  if (spec_.session) spec_.session->release();
  over_ = true;
  const std::string& id = exchange_->request().id;
  exchange_->fail(spec_.session ? state_error(event, *spec_.session, spec_.session->tokens_before(), id)
                                : refusal_error(event, id));
}

// A prompt is taken in once for all its choices: its tokens come as those of the first.
void Generation::take(TokenEvent event) {
  const auto index = static_cast<std::size_t>(event.choice);
  if (quota_use_ && !event.from_prompt) quota_use_->generate();
  if (spec_.session && !event.from_prompt) spec_.session->tell(event.token);
  if (over_ || index >= choices_.size()) return;
  if (event.from_prompt) {
    const auto end = std::min(index + static_cast<std::size_t>(spec_.options.n), choices_.size());
    for (std::size_t i = index; i < end; ++i) take_token(i, event, /*own=*/i == index);
  } else {
    take_token(index, std::move(event), /*own=*/true);
  }
  grant(index);
}

void Generation::take_token(std::size_t index, TokenEvent event, bool own) {
  Running& choice = choices_[index];
  if (choice.turn.ended()) return;  // the engine has not heard of that yet
  if (!event.from_prompt) observe_token(choice);
  answer_.show(index, choice.turn.take(std::move(event), own));
  const bool stopped = choice.turn.choice().stopped();
  // Where the prompts of a request differ, so does the room for their answers; the engine knows the largest.
  const std::int64_t said = choice.turn.choice().completion_tokens();
  const bool full = said == choice.max_tokens && said < command_.params.max_tokens;
  if (!stopped && !full) return;
  end_choice(index, stopped ? "stop" : "length");
  EndTurn end = choice.turn.where_it_ends(request_, static_cast<std::int32_t>(index));
  if (spec_.session) {
    // What was told of the next tokens belongs to the session too.
    if (end.pending.empty()) {
      end.pending = tokenizer_.encode(choice.turn.choice().pending_text(), {.add_special_tokens = false});
    }
    end_ = end;
  }
  engine_.send(std::move(end));
}

void Generation::observe_token(Running& choice) {
  const Clock::time_point now = Clock::now();
  if (!std::exchange(first_token_seen_, true))
    metrics_.observe_first_token(now - exchange_->request().received);
  if (choice.turn.choice().completion_tokens() > 0) metrics_.observe_token_gap(now - choice.last_token);
  choice.last_token = now;
}

// A reader that does not keep up gets no more before it has caught up.
void Generation::grant(std::size_t index) {
  if (over_ || exchange_->backlogged()) return;
  const auto total = choices_[index].turn.renew_credit();
  if (total) engine_.send(Grant{request_, static_cast<std::int32_t>(index), *total});
}

void Generation::grant_all() {
  for (std::size_t i = 0; i < choices_.size(); ++i) grant(i);
}

void Generation::take(const TurnEnded& event) {
  const auto index = static_cast<std::size_t>(event.choice);
  if (index >= choices_.size()) return;
  --unfinished_;
  ChoiceTurn& turn = choices_[index].turn;
  turn.take_end(event);
  if (spec_.session) settle_session(event);
  if (over_) return;
  if (!turn.ended()) {
    if (event.reason != FinishReason::stop && event.reason != FinishReason::length) {
      metrics_.count_finish("failed");
      metrics_.count_abort("engine_failed");
      note_tokens();
      exchange_->fail(broken_off(event));
      over_ = true;
      return cancel();
    }
    end_choice(index, event.reason == FinishReason::stop ? "stop" : "length", event.stop_token);
  }
  if (unfinished_ == 0) complete();
}

// A turn that ended by itself before it heard where the answer ends goes back when it hears of it.
void Generation::settle_session(const TurnEnded& event) {
  const bool heard_late = end_ && (event.reason == FinishReason::length ||
                                   (event.reason == FinishReason::stop && event.stop_token));
  if (heard_late) return spec_.session->settle(end_->position, end_->pending);
  spec_.session->settle(event);
}

void Generation::abandon(AbandonCause cause) {
  if (std::exchange(over_, true)) return;
  metrics_.count_finish("abandoned");
  metrics_.count_abort(to_label(cause));
  note_tokens();
  cancel();
}

void Generation::cancel() {
  if (request_ != 0 && unfinished_ > 0) engine_.send(Cancel{request_});
}

// ---- the answer

void Generation::end_choice(std::size_t index, const char* reason, std::optional<TokenId> stop_token) {
  ChoiceTurn& turn = choices_[index].turn;
  answer_.show(index, turn.end(reason, stop_token));
  metrics_.count_finish(turn.finish_reason());
  answer_.end_choice(index, turn.finish_reason());
}

void Generation::complete() {
  note_tokens();
  if (spec_.options.stream) return answer_.end_stream();
  const auto executor = executor_.lock();
  if (!executor) return;
  auto task = [self = shared_from_this()] { self->answer_.respond(); };
  if (answer_.is_long()) return executor->offload_long(std::move(task));
  executor->offload(std::move(task));
}

std::int64_t Generation::completion_tokens() const {
  std::int64_t tokens = 0;
  for (const Running& choice : choices_) tokens += choice.turn.choice().completion_tokens();
  return tokens;
}

void Generation::note_tokens() {
  exchange_->note_tokens({count_prompt_tokens(spec_), completion_tokens()});
}

Json Generation::usage() const {
  if (spec_.session) {
    return usage_json(count_prompt_tokens(spec_), completion_tokens(), spec_.session->usage());
  }
  SessionUsage longest;
  for (const Running& choice : choices_) {
    const SessionUsage session = choice.turn.session();
    if (session.seen_tokens > longest.seen_tokens) longest = session;
  }
  return usage_json(count_prompt_tokens(spec_), completion_tokens(), longest);
}

}  // namespace

void start_generation(ApiContext& api, const std::shared_ptr<Exchange>& exchange, GenerationSpec spec) {
  api.availability.require();
  check_budget(spec, api.engine.limits());
  std::shared_ptr<void> held_prompts = api.live_prompts.hold(count_prompt_tokens(spec));
  std::shared_ptr<QuotaUse> quota_use = begin_quota_use(api, *exchange, count_prompt_tokens(spec));
  const auto generation = std::make_shared<Generation>(api, exchange, std::move(spec),
                                                       std::move(held_prompts), std::move(quota_use));
  api.executor->post([generation] { generation->begin(); });
}

}  // namespace sinkstream
