// Commands about sessions that outlive a request.
#include <algorithm>

#include "worker/engine/scheduler.h"

namespace sinkstream {
namespace {

// A past of so many tokens, which has all that this one has of them.
Past first_tokens(const Past& past, std::int64_t tokens) {
  const auto first = [](const SharedTokens& list, std::int64_t count) {
    const std::int64_t kept = std::clamp<std::int64_t>(count, 0, std::ssize(list));
    return SharedTokens(std::vector<TokenId>(list.begin(), list.begin() + kept));
  };
  return {first(past.sinks, tokens), std::min(past.begin, tokens), first(past.recent, tokens - past.begin)};
}

}  // namespace

void Scheduler::take(const OpenSession& command) {
  if (refuses_id(command.request, command.session) || refuses_more_sessions(command.request)) return;
  new_sessions_[command.session] = {.window = command.window.value_or(limits_.session.window),
                                    .past = command.past,
                                    .pending = {},
                                    .snapshots = command.snapshots};
  tell_(changed(command.request, command.session));
}

void Scheduler::take(const ForkSession& command) {
  if (refuses_id(command.request, command.session) || refuses(command.request, command.from)) return;
  const std::int64_t at = command.at.value_or(tokens_of(command.from));
  if (refuses_state(command.request, command.from, at) || refuses_more_sessions(command.request)) return;
  const Session* const from = table_.find(command.from);
  if (!from) {
    new_sessions_[command.session] = new_sessions_.at(command.from);
    go_back(command.session, at);
    return tell_(changed(command.request, command.session));
  }
  if (!copy_of(*from, command.session)) {
    return refuse(command.request, RefusalReason::queue_full,
                  "neither a slot nor a parking place is free for the new session", from);
  }
  go_back(command.session, at);
  forks_.push_back(changed(command.request, command.session));
}

void Scheduler::take(const RollBackSession& command) {
  if (refuses(command.request, command.session)) return;
  if (refuses_state(command.request, command.session, command.to)) return;
  go_back(command.session, command.to);
  tell_(changed(command.request, command.session));
}

void Scheduler::take(const CloseSession& command) {
  if (!table_.find(command.session) && !new_sessions_.contains(command.session)) {
    return refuse(command.request, RefusalReason::unknown_session, "there is no such session");
  }
  end_waiting([&](const Choices& choices) { return choices.request->command.session == command.session; },
              FinishReason::cancelled, "");
  if (Session* const session = table_.find(command.session); session && session->turn) cancel_turn(*session);
  // Whether its copy was made no longer matters.
  std::erase_if(forks_, [&](const SessionChanged& fork) {
    if (fork.session != command.session) return false;
    tell_(fork);
    return true;
  });
  tell_(changed(command.request, command.session));
  if (Session* const session = table_.find(command.session)) table_.close(*session);
  new_sessions_.erase(command.session);
}

bool Scheduler::refuses_turn(const Generate& command) {
  if (refuses(command.request, command.session)) return true;
  const Session* const session = table_.find(command.session);
  const std::int64_t tokens = tokens_of(command.session);
  const auto given = static_cast<std::int64_t>(command.prompts.front().size());
  if (command.expected_tokens.value_or(tokens) != tokens) {
    refuse(command.request, RefusalReason::not_as_expected,
           "the session has " + std::to_string(tokens) + " tokens", session);
  } else if (given == 0 && tokens == (session ? session->seen : 0)) {
    refuse(command.request, RefusalReason::invalid, "there is nothing to take in", session);
  } else if (!limits_.session.endless() && tokens + given > limits_.session.max_context) {
    refuse(command.request, RefusalReason::invalid,
           "the session would have more than max_context (" + std::to_string(limits_.session.max_context) +
               ") tokens",
           session);
  } else if (!goes_on_at_once(session) && waiting() >= std::int64_t{limits_.max_queue} + slots_to_be_had()) {
    refuse(command.request, RefusalReason::queue_full, "the queue is full");
  } else {
    return false;
  }
  return true;
}

// Each needs a slot or a parking place one day.
bool Scheduler::refuses_more_sessions(RequestId request) {
  if (new_sessions_.size() + table_.kept() < static_cast<std::size_t>(most_sessions())) return false;
  refuse(request, RefusalReason::queue_full,
         "there are as many sessions as slots and parking places can keep, " +
             std::to_string(most_sessions()) + " (sessions.parked_bytes)");
  return true;
}

// For a new session's id.
bool Scheduler::refuses_id(RequestId request, SessionId id) {
  if (id != kNoSession && !table_.find(id) && !new_sessions_.contains(id)) return false;
  refuse(request, RefusalReason::session_exists, "there is a session of this id already");
  return true;
}

bool Scheduler::refuses_state(RequestId request, SessionId id, std::int64_t tokens) {
  if (can_go_back(id, tokens)) return false;
  refuse(request, RefusalReason::out_of_reach,
         "the cache no longer has the state at " + std::to_string(tokens) + " tokens", table_.find(id));
  return true;
}

bool Scheduler::refuses(RequestId request, SessionId id) {
  const Session* const session = table_.find(id);
  if (!session && !new_sessions_.contains(id)) {
    refuse(request, RefusalReason::unknown_session, "there is no such session");
  } else if ((session && session->turn) || is_waiting(id)) {
    refuse(request, RefusalReason::session_busy, "the session is in a turn", session);
  } else {
    return false;
  }
  return true;
}

bool Scheduler::is_waiting(SessionId id) const {
  return std::any_of(waiting_.begin(), waiting_.end(),
                     [&](const Choices& choices) { return choices.request->command.session == id; });
}

void Scheduler::refuse(RequestId request, RefusalReason reason, const std::string& message,
                       const Session* session) {
  tell_(Refused{request, reason, message, session ? session->usage() : SessionUsage{}});
}

SessionChanged Scheduler::changed(RequestId request, SessionId id) const {
  SessionChanged event{.request = request, .session = id, .usage = {}, .pending = {}};
  if (const Session* const session = table_.find(id)) {
    event.usage = session->usage();
    event.pending = session->pending;
  } else {
    const NewSession& opened = new_sessions_.at(id);
    event.usage = session_usage(opened.past.tokens(), opened.window);
    event.pending = opened.pending;
  }
  return event;
}

std::int64_t Scheduler::tokens_of(SessionId id) const {
  if (const Session* const session = table_.find(id)) return session->tokens();
  return new_sessions_.at(id).tokens();
}

std::int64_t Scheduler::taken_in(SessionId id) const {
  if (const Session* const session = table_.find(id)) return session->taken_in();
  return new_sessions_.at(id).past.tokens();
}

std::vector<TokenId>* Scheduler::pending_of(SessionId id) {
  if (Session* const session = table_.find(id)) return &session->pending;
  const auto opened = new_sessions_.find(id);
  return opened == new_sessions_.end() ? nullptr : &opened->second.pending;
}

bool Scheduler::can_go_back(SessionId id, std::int64_t tokens) const {
  if (tokens < 0 || tokens > tokens_of(id)) return false;
  if (tokens >= taken_in(id)) return true;
  if (const Session* const session = table_.find(id)) {
    return !session->replays() && table_.can_roll_back(*session, tokens);
  }
  const NewSession& opened = new_sessions_.at(id);
  return tokens >= sound_from(opened.past.begin, opened.window, limits_.session.num_layers);
}

void Scheduler::go_back(SessionId id, std::int64_t tokens) {
  const std::int64_t seen = taken_in(id);
  pending_of(id)->resize(static_cast<std::size_t>(std::max<std::int64_t>(0, tokens - seen)));
  if (tokens >= seen) return;
  if (Session* const session = table_.find(id)) return table_.roll_back(*session, tokens);
  new_sessions_.at(id).past = first_tokens(new_sessions_.at(id).past, tokens);
}

}  // namespace sinkstream
