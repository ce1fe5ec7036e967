#include "coordinator/api/generation/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <limits>
#include <mutex>
#include <random>
#include <utility>
#include <variant>

#include "coordinator/api/generation/generation_budget.h"
#include "coordinator/api/generation/usage.h"
#include "coordinator/api/metrics.h"

namespace sinkstream {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxQueuedEvents = 4096;  // from the engine, before its sessions sit out

std::string new_answer_id(const std::string& prefix) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}{:016x}{:016x}", prefix, random(), random());
}

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

// A client may try again where another start of the server would help, and only there.
RequestError broken_off(const FinishEvent& event) {
  if (event.reason != FinishReason::failed) {
    const std::string why = event.message.empty() ? "the server is ending" : event.message;
    return unavailable("The generation broke off: " + why);
  }
  return {500, "server_error", "generation_failed", "The generation failed: " + event.message};
}

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // `held_prompts` is kept as long as the prompts are.
  Generation(ApiContext& api, std::shared_ptr<Exchange> exchange, GenerationSpec spec,
             std::shared_ptr<void> held_prompts);

  void start();

  // The engine's thread.
  void enqueue(std::size_t index, std::variant<TokenEvent, FinishEvent> event);
  bool paused() const;

 private:
  struct Event {
    std::size_t index;
    std::variant<TokenEvent, FinishEvent> what;
  };
  struct Progress {
    explicit Progress(Choice new_choice) : choice(std::move(new_choice)) {}
    Choice choice;
    Piece collected;  // not streamed: everything so far
    const char* finish_reason = nullptr;
    bool finished = false;  // the engine is done with it
    SessionUsage session;
    Clock::time_point last_token = {};
  };

  const Prompt& prompt_of(std::size_t index) const {
    return spec_.prompts[index / static_cast<std::size_t>(spec_.options.n)];
  }
  std::string choice_id(std::size_t index) const { return fmt::format("{}/{}", id_, index); }
  Submission submission(std::size_t index);

  // The I/O thread.
  void begin();
  void take_events();
  void take_token(std::size_t index, TokenEvent event);
  void take_finish(std::size_t index, const FinishEvent& event);
  void observe_token(Progress& progress);
  void show(std::size_t index, Piece piece);
  void end_choice(std::size_t index, const char* reason, std::optional<TokenId> stop_token = std::nullopt);
  void complete();
  void abandon(AbandonCause cause);
  void cancel_unfinished();
  void send_choice(Json choice);

  Json answer(Json choices, bool stream) const;
  Json usage() const;
  SessionUsage session_so_far(std::size_t index) const;
  std::int64_t completion_tokens() const;
  void note_tokens();
  bool has_long_answer() const;
  void respond_soon();
  void respond_whole();

  Engine& engine_;
  const EngineLimits limits_;
  Metrics& metrics_;
  const std::weak_ptr<Executor> executor_;
  const std::shared_ptr<Exchange> exchange_;
  const GenerationSpec spec_;
  const std::shared_ptr<void> held_prompts_;
  const std::string id_;
  const std::int64_t created_ = std::time(nullptr);

  std::mutex mutex_;
  std::vector<Event> events_;  // guarded by mutex_
  bool begun_ = false;         // guarded by mutex_: events have a taker
  std::atomic<std::size_t> num_queued_{0};

  // The I/O thread only, then the task that builds the whole answer.
  std::vector<Progress> choices_;
  std::size_t unfinished_ = 0;
  bool over_ = false;  // failed or abandoned: what still comes is dropped
  bool first_token_seen_ = false;
};

class ChoiceListener : public GenerationListener {
 public:
  ChoiceListener(std::shared_ptr<Generation> generation, std::size_t index)
      : generation_(std::move(generation)), index_(index) {}
  void on_token(TokenEvent event) override { generation_->enqueue(index_, std::move(event)); }
  void on_finish(FinishEvent event) override { generation_->enqueue(index_, std::move(event)); }
  bool paused() const override { return generation_->paused(); }

 private:
  const std::shared_ptr<Generation> generation_;
  const std::size_t index_;
};

Generation::Generation(ApiContext& api, std::shared_ptr<Exchange> exchange, GenerationSpec spec,
                       std::shared_ptr<void> held_prompts)
    : engine_(api.engine),
      limits_(api.engine.limits()),
      metrics_(api.metrics),
      executor_(api.executor),
      exchange_(std::move(exchange)),
      spec_(std::move(spec)),
      held_prompts_(std::move(held_prompts)),
      id_(new_answer_id(spec_.format->id_prefix())) {
  const std::size_t total = spec_.prompts.size() * static_cast<std::size_t>(spec_.options.n);
  for (std::size_t i = 0; i < total; ++i) {
    choices_.emplace_back(Choice(api.tokenizer, spec_.options, prompt_of(i)));
  }
  unfinished_ = total;
}

// ---- submission

void Generation::start() {
  std::vector<Submission> submissions;
  for (std::size_t i = 0; i < choices_.size(); ++i) submissions.push_back(submission(i));
  switch (engine_.submit(std::move(submissions))) {
    case SubmitResult::accepted:
      break;
    case SubmitResult::queue_full:
      throw too_busy("The server has as much work as it can queue; try again soon.");
    case SubmitResult::ending:
      throw unavailable("The server is ending and takes no new requests.");
  }
  if (const auto executor = executor_.lock()) executor->post([self = shared_from_this()] { self->begin(); });
}

Submission Generation::submission(std::size_t index) {
  const GenerationOptions& options = spec_.options;
  GenerationRequest request;
  request.id = choice_id(index);
  request.prompt = prompt_of(index).tokens;
  request.max_tokens = longest_answer(options, prompt_of(index), limits_);
  request.ignore_eos = options.ignore_eos;
  request.stop_token_ids = options.stop_token_ids;
  request.sampling = options.sampling;
  request.sampling.seed += index % static_cast<std::size_t>(options.n);
  request.logprobs = options.logprobs;
  request.top_logprobs = options.top_logprobs;
  const bool echoes_logprobs = options.logprobs && options.echo;
  request.prompt_logprobs = echoes_logprobs || options.prompt_logprobs;
  request.top_prompt_logprobs =
      std::max(echoes_logprobs ? options.top_logprobs : 0, options.prompt_logprobs.value_or(0));
  return {std::move(request), std::make_shared<ChoiceListener>(shared_from_this(), index)};
}

// ---- events

void Generation::enqueue(std::size_t index, std::variant<TokenEvent, FinishEvent> event) {
  const std::lock_guard lock(mutex_);
  events_.push_back({index, std::move(event)});
  num_queued_ = events_.size();
  if (!begun_ || events_.size() > 1) return;  // somebody is coming
  if (const auto executor = executor_.lock())
    executor->post([self = shared_from_this()] { self->take_events(); });
}

bool Generation::paused() const {
  return exchange_->backlogged() || num_queued_ > kMaxQueuedEvents;
}

void Generation::begin() {
  // The exchange must not keep the generation alive, nor the other way round.
  exchange_->on_abandoned([weak = weak_from_this()](AbandonCause cause) {
    if (const auto self = weak.lock()) self->abandon(cause);
  });
  if (spec_.options.stream && !over_) exchange_->start_stream();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    send_choice(spec_.format->opening(static_cast<int>(i), prompt_of(i)));
  }
  for (std::size_t i = 0; i < choices_.size(); ++i) show(i, choices_[i].choice.opening(prompt_of(i)));
  {
    const std::lock_guard lock(mutex_);
    begun_ = true;
  }
  take_events();
}

void Generation::take_events() {
  std::vector<Event> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
    num_queued_ = 0;
  }
  for (Event& event : events) {
    if (auto* token = std::get_if<TokenEvent>(&event.what)) {
      take_token(event.index, std::move(*token));
    } else {
      take_finish(event.index, std::get<FinishEvent>(event.what));
    }
  }
}

void Generation::take_token(std::size_t index, TokenEvent event) {
  Progress& progress = choices_[index];
  if (over_ || progress.finish_reason) return;  // cancelled, and the engine had not heard of it yet
  if (!event.from_prompt) observe_token(progress);
  show(index, progress.choice.push(std::move(event)));
  if (progress.choice.stopped()) {
    end_choice(index, "stop");
    engine_.cancel(choice_id(index));
  }
}

void Generation::observe_token(Progress& progress) {
  const Clock::time_point now = Clock::now();
  if (!std::exchange(first_token_seen_, true))
    metrics_.observe_first_token(now - exchange_->request().received);
  if (progress.choice.completion_tokens() > 0) metrics_.observe_token_gap(now - progress.last_token);
  progress.last_token = now;
}

void Generation::take_finish(std::size_t index, const FinishEvent& event) {
  Progress& progress = choices_[index];
  progress.finished = true;
  progress.session = event.usage;
  --unfinished_;
  if (over_) return;
  if (progress.finish_reason) {
    // Cut at a stop string: what the engine did until it heard of that does not count.
    progress.session = session_so_far(index);
  } else if (event.reason == FinishReason::stop || event.reason == FinishReason::length) {
    end_choice(index, event.reason == FinishReason::stop ? "stop" : "length", event.stop_token);
  } else {
    metrics_.count_finish("failed");
    metrics_.count_abort("engine_failed");
    note_tokens();
    exchange_->fail(broken_off(event));
    over_ = true;
    cancel_unfinished();
    return;
  }
  if (unfinished_ == 0) complete();
}

void Generation::abandon(AbandonCause cause) {
  if (over_) return;
  over_ = true;
  metrics_.count_finish("abandoned");
  metrics_.count_abort(to_label(cause));
  note_tokens();
  cancel_unfinished();
}

void Generation::cancel_unfinished() {
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    if (!choices_[i].finished) engine_.cancel(choice_id(i));
  }
}

// ---- the answer

void Generation::show(std::size_t index, Piece piece) {
  if (piece.empty()) return;
  if (spec_.options.stream) {
    send_choice(spec_.format->piece(static_cast<int>(index), piece));
  } else {
    choices_[index].collected.append(std::move(piece));
  }
}

void Generation::end_choice(std::size_t index, const char* reason, std::optional<TokenId> stop_token) {
  Progress& progress = choices_[index];
  show(index, progress.choice.finish(stop_token));
  if (progress.choice.stopped()) reason = "stop";  // what was held back to the last was a stop string
  progress.finish_reason = reason;
  metrics_.count_finish(reason);
  if (!spec_.options.stream) return;
  Json chunk = answer(Json::array({spec_.format->end(static_cast<int>(index), reason)}), true);
  chunk["truncation"] = spec_.options.truncation;
  exchange_->send(to_event(chunk));
}

void Generation::complete() {
  note_tokens();
  if (!spec_.options.stream) {
    respond_soon();
    return;
  }
  if (spec_.options.include_usage) {
    Json chunk = answer(Json::array(), true);
    chunk["usage"] = usage();
    exchange_->send(to_event(chunk));
  }
  exchange_->send("data: [DONE]\n\n");
  exchange_->finish_stream();
}

void Generation::send_choice(Json choice) {
  if (!spec_.options.stream || choice.is_null()) return;
  exchange_->send(to_event(answer(Json::array({std::move(choice)}), true)));
}

// To be written as JSON.
bool Generation::has_long_answer() const {
  constexpr std::size_t kManyEntries = 65536;
  const auto alternatives = static_cast<std::size_t>(spec_.options.top_logprobs);
  const auto prompt_alternatives = static_cast<std::size_t>(spec_.options.prompt_logprobs.value_or(0));
  std::size_t entries = 0;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Piece& piece = choices_[i].collected;
    entries += piece.tokens.size() * (1 + alternatives) + piece.token_ids.size();
    entries += piece.prompt.size() * (1 + prompt_alternatives);
    if (spec_.options.return_token_ids) entries += prompt_of(i).tokens.size();
  }
  return entries > kManyEntries;
}

void Generation::respond_soon() {
  const auto executor = executor_.lock();
  if (!executor) return;
  auto task = [self = shared_from_this()] { self->respond_whole(); };
  if (has_long_answer()) return executor->offload_long(std::move(task));
  executor->offload(std::move(task));
}

void Generation::respond_whole() {
  Json choices = Json::array();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    choices.push_back(spec_.format->whole(static_cast<int>(i), choices_[i].collected, prompt_of(i),
                                          choices_[i].finish_reason));
  }
  Json body = answer(std::move(choices), false);
  spec_.format->add_members(body, choices_.front().collected);
  body["usage"] = usage();
  body["truncation"] = spec_.options.truncation;
  exchange_->respond({200, "application/json", to_text(body)});
}

Json Generation::answer(Json choices, bool stream) const {
  Json json = {{"id", id_},
               {"object", spec_.format->object(stream)},
               {"created", created_},
               {"model", spec_.options.model},
               {"system_fingerprint", "sinkstream-" SINKSTREAM_VERSION}};
  json["choices"] = std::move(choices);
  if (stream && spec_.options.include_usage) {
    json["usage"] = spec_.options.continuous_usage ? usage() : Json(nullptr);
  }
  return json;
}

// By what it was given and has said: the last token is chosen, and not taken in any more.
SessionUsage Generation::session_so_far(std::size_t index) const {
  const auto prompt_tokens = static_cast<std::int64_t>(prompt_of(index).tokens.size());
  const std::int64_t said = choices_[index].choice.completion_tokens();
  return session_usage(prompt_tokens + std::max<std::int64_t>(said - 1, 0), limits_.session.window);
}

std::int64_t Generation::completion_tokens() const {
  std::int64_t tokens = 0;
  for (const Progress& progress : choices_) tokens += progress.choice.completion_tokens();
  return tokens;
}

void Generation::note_tokens() {
  exchange_->note_tokens({count_prompt_tokens(spec_), completion_tokens()});
}

Json Generation::usage() const {
  SessionUsage longest;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const SessionUsage session = choices_[i].finished ? choices_[i].session : session_so_far(i);
    if (session.seen_tokens > longest.seen_tokens) longest = session;
  }
  return usage_json(count_prompt_tokens(spec_), completion_tokens(), longest);
}

}  // namespace

void start_generation(ApiContext& api, const std::shared_ptr<Exchange>& exchange, GenerationSpec spec) {
  api.availability.require();
  check_budget(spec, api.engine.limits());
  std::shared_ptr<void> held_prompts = api.live_prompts.hold(count_prompt_tokens(spec));
  std::make_shared<Generation>(api, exchange, std::move(spec), std::move(held_prompts))->start();
}

}  // namespace sinkstream
