#include "tests/coordinator/api/fake_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "engine/messages.h"
#include "tests/patience.h"

namespace sinkstream::testing {
namespace {

constexpr std::size_t kPromptChunk = 16;

// Some number that depends on the token alone.
float fake_logprob(TokenId token) {
  return -0.25f * static_cast<float>(1 + token % 7);
}

std::int64_t fake_rank(TokenId token) {
  return 100 + token;
}

// What the other side gets: all messages go through their codec.
Command as_received(const Command& command) {
  return decode_command(encode(command));
}
Event as_received(const Event& event) {
  return decode_event(encode(event));
}

}  // namespace

FakeEngine::FakeEngine(EngineLimits limits) : limits_(std::move(limits)), thread_([this] { run(); }) {}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

// ---- what tests set and see

void FakeEngine::set_reply(std::vector<TokenId> tokens, bool endless) {
  const std::lock_guard lock(mutex_);
  reply_ = std::move(tokens);
  endless_ = endless;
}

void FakeEngine::set_token_time(std::chrono::milliseconds time) {
  const std::lock_guard lock(mutex_);
  token_time_ = time;
}

void FakeEngine::hold(bool held) {
  const std::lock_guard lock(mutex_);
  held_ = held;
  changed_.notify_all();
}

void FakeEngine::listen(bool listens) {
  const std::lock_guard lock(mutex_);
  listens_ = listens;
  changed_.notify_all();
}

std::size_t FakeEngine::num_unheard() const {
  const std::lock_guard lock(mutex_);
  return inbox_.size();
}

void FakeEngine::end() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
}

void FakeEngine::refuse_next(RefusalReason reason, const std::string& message) {
  const std::lock_guard lock(mutex_);
  refusal_ = {.reason = reason, .message = message};
}

void FakeEngine::hear_late() {
  const std::lock_guard lock(mutex_);
  hears_late_ = true;
}

void FakeEngine::allow_out_of_reach() {
  const std::lock_guard lock(mutex_);
  allows_out_of_reach_ = true;
}

void FakeEngine::fail_all(const std::string& message, FinishReason reason) {
  const std::lock_guard lock(mutex_);
  for (Choice& choice : active_) finish(choice, 0, {.reason = reason, .message = message});
  active_.clear();
}

void FakeEngine::refuse_saves(std::optional<RefusalReason> reason) {
  const std::lock_guard lock(mutex_);
  refuses_saves_ = reason;
}

void FakeEngine::replay(std::int64_t tokens) {
  const std::lock_guard lock(mutex_);
  replayed_ = tokens;
}

void FakeEngine::want_slot(SessionId session) {
  const std::lock_guard lock(mutex_);
  tell(SlotWanted{.request = 0, .session = session});
}

void FakeEngine::set_stats(const EngineStats& stats) {
  const std::lock_guard lock(mutex_);
  stats_ = stats;
}

std::size_t FakeEngine::num_active() const {
  const std::lock_guard lock(mutex_);
  return active_.size();
}

std::size_t FakeEngine::num_cancelled() const {
  const std::lock_guard lock(mutex_);
  return num_cancelled_;
}

std::size_t FakeEngine::num_out_of_credit() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(active_, [](const Choice& choice) { return choice.credit() == 0; }));
}

std::int64_t FakeEngine::num_events() const {
  const std::lock_guard lock(mutex_);
  return num_events_;
}

std::vector<FakeEngine::Turn> FakeEngine::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

EngineStats FakeEngine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.running = static_cast<std::int64_t>(active_.size());
  return stats;
}

// ---- commands

void FakeEngine::connect(std::shared_ptr<EventSink> sink) {
  const std::lock_guard lock(mutex_);
  sink_ = std::move(sink);
}

void FakeEngine::send(Command command) {
  const std::lock_guard lock(mutex_);
  inbox_.push_back(as_received(command));
  changed_.notify_all();
}

void FakeEngine::take_commands() {
  for (; listens_ && !inbox_.empty(); inbox_.pop_front()) {
    received_.push_back(inbox_.front());
    std::visit([this](const auto& command) { take(command); }, inbox_.front());
    drop_ended();
  }
}

// ---- sessions that outlive a request

std::map<SessionId, FakeEngine::Kept> FakeEngine::sessions() const {
  const std::lock_guard lock(mutex_);
  return sessions_;
}

void FakeEngine::take(const OpenSession& command) {
  EXPECT_FALSE(sessions_.contains(command.session)) << "a session's number was given twice";
  if (refusal_ && refusal_->reason == RefusalReason::queue_full) {
    refusal_->request = command.request;
    return tell(*std::exchange(refusal_, std::nullopt));
  }
  Kept& session = sessions_[command.session];
  session.window = command.window.value_or(limits_.session.window);
  const Past& past = command.past;
  session.tokens = past.sinks.list();
  if (past.has_gap()) {
    EXPECT_EQ(std::ssize(past.sinks), session.window.sink_tokens);
    constexpr TokenId kLeftOut = -1;
    session.tokens.resize(static_cast<std::size_t>(past.begin), kLeftOut);
    session.sound_from = sound_from(past.begin, session.window, limits_.session.num_layers);
    EXPECT_LE(session.sound_from, past.tokens());
  }
  session.tokens.insert(session.tokens.end(), past.recent.begin(), past.recent.end());
  session.seen = session.written = past.tokens();
  tell_changed(command.request, command.session);
}

void FakeEngine::take(const ForkSession& command) {
  EXPECT_FALSE(sessions_.contains(command.session)) << "a session's number was given twice";
  EXPECT_FALSE(is_in_turn(command.from));
  Kept copy = sessions_.at(command.from);
  const std::int64_t at = command.at.value_or(std::ssize(copy.tokens));
  if (!can_go_back(copy, at)) return tell(Refused{command.request, RefusalReason::out_of_reach, "", {}});
  go_back(copy, at);
  sessions_[command.session] = std::move(copy);
  tell_changed(command.request, command.session);
}

void FakeEngine::take(const RollBackSession& command) {
  EXPECT_FALSE(is_in_turn(command.session));
  Kept& session = sessions_.at(command.session);
  if (!can_go_back(session, command.to)) {
    return tell(Refused{command.request, RefusalReason::out_of_reach, "", {}});
  }
  go_back(session, command.to);
  tell_changed(command.request, command.session);
}

void FakeEngine::take(const CloseSession& command) {
  ASSERT_TRUE(sessions_.contains(command.session)) << "a session is closed twice, or before it was opened";
  for (Choice& choice : active_) {
    if (choice.command->session == command.session) finish(choice, 0, {.reason = FinishReason::cancelled});
  }
  tell_changed(command.request, command.session);
  sessions_.erase(command.session);
}

void FakeEngine::take(const SaveSession& command) {
  EXPECT_TRUE(limits_.has_snapshots);
  EXPECT_FALSE(is_in_turn(command.session));
  EXPECT_EQ(std::ssize(sessions_.at(command.session).tokens), command.tokens);
  if (refuses_saves_) return tell(Refused{command.request, *refuses_saves_, "", {}});
  tell_changed(command.request, command.session);
}

bool FakeEngine::refuses_turn(const Generate& command) {
  const auto found = sessions_.find(command.session);
  const auto refuse = [&](RefusalReason reason) {
    tell(Refused{command.request, reason, "", {}});
    return true;
  };
  if (found == sessions_.end()) return refuse(RefusalReason::unknown_session);
  EXPECT_FALSE(is_in_turn(command.session)) << "two turns of a session at once";
  EXPECT_EQ(command.n, 1);
  EXPECT_EQ(command.prompts.size(), 1u);
  const bool is_new = std::exchange(found->second.is_new, false) && !found->second.tokens.empty();
  EXPECT_FALSE(command.prompts[0].empty() && found->second.pending().empty() && !is_new)
      << "nothing to take in";
  const auto tokens = std::ssize(found->second.tokens);
  EXPECT_EQ(command.expected_tokens.value_or(tokens), tokens);
  return false;
}

bool FakeEngine::is_in_turn(SessionId session) const {
  return std::ranges::any_of(
      active_, [&](const Choice& choice) { return choice.command->session == session && !choice.over; });
}

bool FakeEngine::can_go_back(const Kept& session, std::int64_t tokens) const {
  if (tokens < 0 || tokens > std::ssize(session.tokens)) return false;
  return tokens >= session.seen ||
         (tokens >= session.sound_from &&
          can_roll_back(session.written, tokens, session.window, limits_.session.ring_capacity));
}

void FakeEngine::go_back(Kept& session, std::int64_t tokens) const {
  session.tokens.resize(static_cast<std::size_t>(tokens));
  session.seen = std::min(session.seen, tokens);
  session.written = written_after_roll_back(session.written, session.seen, session.window);
}

void FakeEngine::tell_changed(RequestId request, SessionId id) {
  const Kept& session = sessions_.at(id);
  tell(SessionChanged{request, id, session_usage(session.seen, session.window), session.pending()});
}

// What a turn leaves of its session.
void FakeEngine::keep(const Choice& choice, TurnEnded& event) {
  Kept& session = sessions_.at(choice.command->session);
  std::vector<TokenId> all(session.tokens.begin(), session.tokens.begin() + choice.base);
  all.insert(all.end(), choice.input.begin(), choice.input.end());
  for (std::size_t i = 0; i < choice.generated; ++i) all.push_back(reply_[i % reply_.size()]);
  const bool ended_by_us = event.reason == FinishReason::stop && !event.stop_token;
  const bool last_is_untaken = event.reason != FinishReason::stop && choice.generated > 0;
  session.seen = ended_by_us ? event.usage.seen_tokens : std::ssize(all) - (last_is_untaken ? 1 : 0);
  const bool last_is_taken = choice.generated == 0 || event.stop_token.has_value();
  session.written = std::max(session.written, std::ssize(all) - (last_is_taken ? 0 : 1));
  if (!ended_by_us) event.pending.assign(all.begin() + session.seen, all.end());
  all.resize(static_cast<std::size_t>(session.seen));
  all.insert(all.end(), event.pending.begin(), event.pending.end());
  session.tokens = std::move(all);
  event.usage = session_usage(session.seen, session.window);
}

// ---- turns

void FakeEngine::take(const Generate& command) {
  const auto choices = static_cast<std::size_t>(num_choices(command));
  EXPECT_NE(command.request, 0u);
  EXPECT_EQ(find(command.request, 0), nullptr) << "a request's number was given twice";
  EXPECT_GT(choices, 0u);
  EXPECT_GE(command.credit, 1);
  const bool keeps = command.session != kNoSession;
  for (const SharedTokens& prompt : command.prompts) EXPECT_TRUE(keeps || !prompt.empty());
  if (refusal_) {
    refusal_->request = command.request;
    return tell(*std::exchange(refusal_, std::nullopt));
  }
  if (keeps && refuses_turn(command)) return;
  if (ending_) return tell(Refused{.request = command.request, .reason = RefusalReason::ending});
  if (active_.size() + choices > static_cast<std::size_t>(limits_.num_slots + limits_.max_queue)) {
    return tell(Refused{.request = command.request, .reason = RefusalReason::queue_full});
  }
  tell(Accepted{command.request});
  const auto shared = std::make_shared<const Generate>(command);
  for (const SharedTokens& prompt : command.prompts) {
    const auto prompt_read = std::make_shared<std::size_t>(0);
    for (std::int32_t i = 0; i < command.n; ++i) {
      Turn turn{command.params, prompt};
      turn.sampling.seed += static_cast<std::uint64_t>(i);
      requests_.push_back(std::move(turn));
      Choice choice{.command = shared, .prompt_read = prompt_read, .granted = command.credit};
      choice.index = static_cast<std::int32_t>(&prompt - command.prompts.data()) * command.n + i;
      if (keeps) {
        const Kept& session = sessions_.at(command.session);
        std::vector<TokenId> input = session.pending();
        input.insert(input.end(), prompt.begin(), prompt.end());
        choice.input = std::move(input);
        choice.base = session.seen;
      }
      active_.push_back(std::move(choice));
    }
  }
}

void FakeEngine::take(const Grant& command) {
  Choice* const choice = find(command.request, command.choice);
  if (!choice) return;
  EXPECT_GT(command.token_events, choice->granted) << "a grant that gives nothing";
  choice->granted = std::max(choice->granted, command.token_events);
}

void FakeEngine::take(const EndTurn& command) {
  Choice* const choice = find(command.request, command.choice);
  if (!choice) return;
  if (hears_late_) {
    choice->granted += 1'000'000;  // it would have got on without
    return;
  }
  check_pending(*choice, command);
  if (!is_in_reach(*choice, command)) {
    EXPECT_TRUE(allows_out_of_reach_) << "the session cannot go back to " << command.position;
    return finish(*choice, 0, {.reason = FinishReason::cancelled});
  }
  finish(*choice, command.position, {.reason = FinishReason::stop, .pending = command.pending});
}

void FakeEngine::take(const Cancel& command) {
  for (Choice& choice : active_) {
    if (choice.command->request != command.request || choice.over) continue;
    ++num_cancelled_;
    finish(choice, 0, {.reason = FinishReason::cancelled});
  }
}

void FakeEngine::drop_ended() {
  std::erase_if(active_, [](const Choice& choice) { return choice.over; });
}

FakeEngine::Choice* FakeEngine::find(RequestId request, std::int32_t index) {
  const auto found = std::ranges::find_if(active_, [&](const Choice& choice) {
    return choice.command->request == request && choice.index == index && !choice.over;
  });
  return found == active_.end() ? nullptr : &*found;
}

const SharedTokens& FakeEngine::Choice::prompt() const {
  if (command->session != kNoSession) return input;
  return command->prompts[static_cast<std::size_t>(index / command->n)];
}

// A session goes back to where it has been, and as far as its ring allows.
bool FakeEngine::is_in_reach(const Choice& choice, const EndTurn& command) const {
  const auto prompt_tokens = choice.base + static_cast<std::int64_t>(choice.prompt().size());
  const std::int64_t taken =
      prompt_tokens + std::max<std::int64_t>(static_cast<std::int64_t>(choice.generated) - 1, 0);
  EXPECT_GE(command.position, prompt_tokens);
  EXPECT_LE(command.position, taken);
  const SessionShape& session = limits_.session;
  return !session.endless() ||
         taken - command.position <= roll_back_reach(session.window, session.ring_capacity);
}

// What is pending was said there.
void FakeEngine::check_pending(const Choice& choice, const EndTurn& command) const {
  if (choice.command->session != kNoSession) return;  // there it may be any text that was told
  EXPECT_LE(command.pending.size(), 1u);
  if (command.pending.empty()) return;
  const auto said = static_cast<std::size_t>(command.position) - choice.prompt().size();
  EXPECT_LT(said, choice.generated);
  EXPECT_EQ(command.pending[0], reply_[said % reply_.size()]);
}

// ---- steps

void FakeEngine::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    take_commands();
    const bool any = !held_ && std::ranges::any_of(active_, [this](const Choice& c) { return can_go_on(c); });
    if (!any) {
      wait(lock);
      continue;
    }
    for (Choice& choice : active_) {
      if (can_go_on(choice)) step(choice);
    }
    drop_ended();
    const auto time = token_time_;
    lock.unlock();
    std::this_thread::sleep_for(std::max<std::chrono::microseconds>(time, std::chrono::microseconds(20)));
    lock.lock();
  }
  for (Choice& choice : active_) finish(choice, 0, {.reason = FinishReason::ending});
}

void FakeEngine::wait(std::unique_lock<std::mutex>& lock) {
  const auto something = [this] { return stopping_ || !inbox_.empty(); };
  if (active_.empty() || held_) return changed_.wait(lock);
  if (changed_.wait_for(lock, kPatience / 2, something)) return;
  ADD_FAILURE() << active_.size() << " choices wait for credit that does not come";
  for (Choice& choice : active_) finish(choice, 0, {.reason = FinishReason::failed, .message = "no credit"});
  active_.clear();
}

// Whatever is chosen needs credit, an end token too: it might have been another.
bool FakeEngine::can_go_on(const Choice& choice) const {
  if (choice.over) return false;
  const bool reads = *choice.prompt_read < choice.prompt().size();
  if (reads && !choice.is_first_of_prompt()) return false;
  if (reads && !choice.command->params.prompt_logprobs) return true;
  const bool is_full = static_cast<std::int64_t>(choice.generated) == choice.command->params.max_tokens;
  return choice.credit() > 0 || (!reads && is_full);
}

void FakeEngine::step(Choice& choice) {
  const TurnParams& params = choice.command->params;
  const std::size_t prompt_size = choice.prompt().size();
  if (*choice.prompt_read < prompt_size) return read_prompt(choice);
  const auto seen = static_cast<std::int64_t>(prompt_size + choice.generated);
  if (!endless_ && choice.generated == reply_.size() && !params.ignore_eos) {
    return finish(choice, seen, {.reason = FinishReason::stop, .stop_token = limits_.end_tokens.at(0)});
  }
  if (static_cast<std::int64_t>(choice.generated) == params.max_tokens) {
    const auto taken = std::max<std::int64_t>(seen - 1, static_cast<std::int64_t>(prompt_size));
    return finish(choice, taken, {.reason = FinishReason::length});
  }
  const TokenId token = reply_[choice.generated % reply_.size()];
  tell_token(choice, static_cast<std::size_t>(choice.base) + prompt_size + choice.generated++, token, false);
  ++stats_.generated_tokens;
}

void FakeEngine::read_prompt(Choice& choice) {
  const bool reports = choice.command->params.prompt_logprobs;
  std::size_t& read = *choice.prompt_read;
  for (std::size_t i = 0; i < kPromptChunk && read < choice.prompt().size(); ++i, ++read) {
    if (reports && choice.credit() == 0) break;
    if (reports) tell_token(choice, read, choice.prompt()[read], true);
    ++stats_.prompt_tokens;
  }
}

// ---- events

void FakeEngine::tell(const Event& event) {
  if (sink_) sink_->on_event(as_received(event));
}

void FakeEngine::tell_token(Choice& choice, std::size_t position, TokenId token, bool from_prompt) {
  const TurnParams& params = choice.command->params;
  TokenEvent event{.request = choice.command->request,
                   .choice = choice.index,
                   .position = static_cast<std::int64_t>(position),
                   .token = token,
                   .from_prompt = from_prompt};
  if (from_prompt ? position > 0 : params.logprobs) {
    event.logprob = fake_logprob(token);
    if (from_prompt) event.rank = fake_rank(token);
    const std::int32_t top = from_prompt ? params.top_prompt_logprobs : params.top_logprobs;
    for (TokenId i = 0; i < top; ++i) event.top.push_back({i + 300, fake_logprob(i + 300)});
  }
  ++choice.sent;
  ++num_events_;
  tell(event);
}

void FakeEngine::finish(Choice& choice, std::int64_t seen, TurnEnded event) {
  choice.over = true;
  event.request = choice.command->request;
  event.choice = choice.index;
  event.usage = session_usage(seen, limits_.session.window);
  event.replayed_tokens = replayed_;
  if (choice.command->session != kNoSession) keep(choice, event);
  tell(event);
}

}  // namespace sinkstream::testing
