#include "tests/worker/engine/random_commands.h"

namespace sinkstream {

void RandomCommands::command() {
  switch (below(16)) {
    case 0:
    case 1:
      return ask();
    case 2:
    case 3:
      return grant();
    case 4:
      return cancel();
    case 5:
      return stop();
    case 6:
      return open();
    case 7:
    case 8:
      return begin();
    case 9:
      return go_back();
    case 10:
      return fork();
    case 11:
    case 12:
      return open();
    case 13:
    case 14:
      return begin();
    default:
      return below(3) == 0 ? close() : fail_next();
  }
}

// ---- Turns

Generate RandomCommands::random_turn() {
  Generate command = one_turn(counting_tokens(1 + below(25), 10 + below(90)), below(9));
  command.params.prompt_logprobs = below(4) == 0;
  command.params.sampling.seed = static_cast<std::uint64_t>(below(1000));
  command.credit = below(3) == 0 ? below(6) : below(60);
  return command;
}

RequestId RandomCommands::send(Generate command, std::vector<TokenId> content) {
  Asked asked{.command = command, .content = std::move(content)};
  const auto choices = static_cast<std::size_t>(num_choices(command));
  asked.granted.assign(choices, command.credit);
  asked.told_at_end.assign(choices, SIZE_MAX);
  const RequestId request = engine_.send(std::move(command));
  if (!engine_.ledger.refused(request)) asked_.emplace(request, std::move(asked));
  return request;
}

void RandomCommands::ask() {
  Generate command = random_turn();
  for (int i = below(3); i > 0; --i) command.prompts.push_back(counting_tokens(1 + below(30), 200));
  command.n = 1 + below(5);
  send(std::move(command), {});
}

void RandomCommands::grant() {
  if (asked_.empty()) return;
  auto& [request, asked] = *any_of(asked_);
  const auto choice = below(static_cast<int>(asked.granted.size()));
  grant(request, asked, choice, asked.granted[static_cast<std::size_t>(choice)] + below(20) - 3);
}

void RandomCommands::grant(RequestId request, Asked& asked, std::int32_t choice, std::int64_t events) {
  auto& granted = asked.granted[static_cast<std::size_t>(choice)];
  granted = std::max(granted, events);
  engine_.scheduler.take(Grant{request, choice, events});
}

void RandomCommands::cancel() {
  if (asked_.empty()) return;
  auto& [request, asked] = *any_of(asked_);
  asked.cancelled = true;
  engine_.scheduler.take(Cancel{request});
  for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
    EXPECT_EQ(engine_.ledger.of(request, choice).ends.size(), 1u) << "a cancel ends every choice";
  }
}

// As the coordinator does: the stop is in what was told of the output.
void RandomCommands::stop() {
  if (asked_.empty()) return;
  auto& [request, asked] = *any_of(asked_);
  const std::int32_t choice = below(num_choices(asked.command));
  const Told& told = engine_.ledger.of(request, choice);
  const auto said = output_of(told);
  if (said.empty() || !told.ends.empty() || asked.cancelled) return;
  const auto given = std::ssize(input_of(asked, choice));
  const std::int64_t kept = below(static_cast<int>(said.size()) + 1);
  EndTurn stop{request, choice, given + std::min<std::int64_t>(kept, std::ssize(said) - 1), {}};
  if (kept == std::ssize(said)) stop.pending = {said.back()};
  asked.stopped.insert(choice);
  engine_.scheduler.take(stop);
  ASSERT_EQ(told.ends.size(), 1u);
  EXPECT_EQ(told.ends[0].reason, FinishReason::stop);
  EXPECT_EQ(told.ends[0].usage.seen_tokens, stop.position);
}

// ---- Sessions

void RandomCommands::open() {
  const SessionId id = next_++;
  // As often as not it has seen something before.
  const auto content = counting_tokens(below(2) * below(60), 10 + below(90));
  const SessionShape shape = small_limits().session;
  const std::int64_t begin = replay_begin(std::ssize(content), 1 + below(9), shape.window, shape.num_layers);
  const auto sinks = std::min(shape.window.sink_tokens, std::ssize(content));
  const Past past{std::vector<TokenId>(content.begin(), content.begin() + sinks), begin,
                  std::vector<TokenId>(content.begin() + begin, content.end())};
  const RequestId request = engine_.send(OpenSession{.session = id, .window = {}, .past = past});
  if (!engine_.ledger.refused(request)) {
    kept_[id] = {content, 0};
    return;
  }
  EXPECT_EQ(engine_.ledger.refused(request)->reason, RefusalReason::queue_full);
  EXPECT_GE(std::ssize(kept_) + std::ssize(forks_), std::max(1, slots_ - 1 + (lost_a_place_ ? 0 : places_)));
}

void RandomCommands::begin() {
  if (kept_.empty()) return;
  auto& [id, kept] = *any_of(kept_);
  Generate command = random_turn();
  command.session = id;
  if (below(4) == 0) command.prompts = {SharedTokens()};
  const bool is_idle = kept.request == 0;
  const RequestId request = send(std::move(command), kept.content);
  EXPECT_TRUE(!engine_.ledger.accepted(request) || is_idle);
  if (engine_.ledger.accepted(request)) kept.request = request;
}

void RandomCommands::go_back() {
  if (kept_.empty()) return;
  auto& [id, kept] = *any_of(kept_);
  const std::int64_t to = below(static_cast<int>(kept.content.size()) + 1);
  const RequestId request = engine_.send(RollBackSession{.session = id, .to = to});
  if (!engine_.ledger.changed(request)) return;
  EXPECT_EQ(kept.request, 0u);
  kept.content.resize(static_cast<std::size_t>(to));
}

void RandomCommands::fork() {
  if (kept_.empty()) return;
  const auto& [id, kept] = *any_of(kept_);
  const std::int64_t at = below(static_cast<int>(kept.content.size()) + 1);
  const SessionId fork = next_++;
  const RequestId request = engine_.send(ForkSession{.session = fork, .from = id, .at = at});
  if (engine_.ledger.refused(request)) return;
  EXPECT_EQ(kept.request, 0u);
  forks_[request] = {fork, {kept.content.begin(), kept.content.begin() + at}};
}

// They are answered when their copy has been made.
void RandomCommands::settle_forks() {
  std::erase_if(forks_, [this](const auto& item) {
    const auto& [request, fork] = item;
    if (engine_.ledger.changed(request)) kept_[fork.id] = {fork.content, 0};
    const auto refused = engine_.ledger.refused(request);
    if (refused) {
      EXPECT_EQ(refused->reason, RefusalReason::failed);
      EXPECT_TRUE(failed_any_);
    }
    return refused || kept_.contains(fork.id);
  });
}

void RandomCommands::close() {
  if (kept_.empty()) return;
  const auto at = any_of(kept_);
  const RequestId turn = at->second.request;
  EXPECT_TRUE(engine_.ledger.changed(engine_.send(CloseSession{.session = at->first})));
  if (turn != 0) {
    EXPECT_EQ(engine_.ledger.of(turn).ends.size(), 1u);
    asked_.at(turn).cancelled = true;
  }
  kept_.erase(at);
}

// ---- Operations that fail

void RandomCommands::fail_next() {
  fails_ = true;
}

void RandomCommands::look_at(const StepPlan& plan) {
  for (const SlotOperation& operation : plan.operations) {
    if (vacates(operation)) must_be_vacated_.erase(*changed_by(operation));
  }
  for (const auto& [where, index] : must_be_vacated_) {
    ADD_FAILURE() << (where == Standing::Where::slot ? "slot " : "place ") << index
                  << " is not vacated after an operation on it failed";
  }
  if (!std::exchange(fails_, false) || plan.operations.empty()) return;
  const int index = below(static_cast<int>(plan.operations.size()));
  const SlotOperation& operation = plan.operations[static_cast<std::size_t>(index)];
  const Standing standing = *changed_by(operation);
  bool stays = !vacates(operation);
  for (std::size_t i = static_cast<std::size_t>(index) + 1; i < plan.operations.size(); ++i) {
    stays = stays && !(vacates(plan.operations[i]) && changed_by(plan.operations[i]) == standing);
  }
  if (!stays) return;
  must_be_vacated_.insert(standing);
  lost_a_place_ = lost_a_place_ || std::holds_alternative<SaveSlot>(operation);
  for (auto& [request, asked] : asked_) asked.may_fail = true;
  failed_any_ = true;
  engine_.failures.push_back({index, "no memory"});
  if (below(2) == 0) engine_.failures.push_back({index, "none there either"});
}

bool RandomCommands::is_known(SessionId id) {
  const RequestId request = engine_.send(ForkSession{.session = id, .from = id});
  return engine_.ledger.refused(request)->reason == RefusalReason::session_exists;
}

}  // namespace sinkstream
