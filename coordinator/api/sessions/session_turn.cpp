#include "coordinator/api/sessions/session_turn.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/http/message/request_error.h"

namespace sinkstream {

SessionTurn::SessionTurn(std::shared_ptr<SessionRegistry> registry, std::shared_ptr<ClientSession> session)
    : registry_(std::move(registry)), session_(std::move(session)) {}

SessionTurn::~SessionTurn() {
  release();
}

void SessionTurn::plan(std::vector<TokenId> tokens) {
  const SessionContents& before = contents();
  added_ = std::move(tokens);
  // What is added without a message goes on with the answer that stands there.
  const ChatMark* const chat = before.chat();
  if (added_.empty() && chat && chat->answering) answer_from_ = chat->from;
  std::vector<TokenId> prompt = before.unsent;
  prompt.insert(prompt.end(), added_.begin(), added_.end());
  tokens_before_ = before.tokens() - std::ssize(before.unsent);
  goes_back_ = prompt.empty() && before.pending == 0;
  if (goes_back_) {
    if (tokens_before_ == 0) {
      throw bad_request("The session is empty: there is nothing to go on from. Send a prompt.", "prompt",
                        "missing_required_parameter");
    }
    --tokens_before_;
    prompt = before.transcript.read(tokens_before_, tokens_before_ + 1);
  }
  prompt_ = std::move(prompt);
}

void SessionTurn::set_chat(nlohmann::ordered_json messages, bool answering) {
  chat_ = ChatMark{.from = 0,
                   .to = 0,
                   .messages = std::make_shared<const nlohmann::ordered_json>(std::move(messages)),
                   .answering = answering};
}

void SessionTurn::enter_engine(EngineClient& engine, SessionsInEngine::Done done) {
  const auto enter = [registry = registry_, session = session_, length = tokens_before_](auto then) {
    registry->in_engine().enter(session, length, std::move(then));
  };
  if (engine_id() == kNoSession) return enter(std::move(done));
  if (!goes_back_) return done(nullptr);
  const RollBackSession command{.request = 0, .session = engine_id(), .to = tokens_before_};
  engine.ask(command,
             [registry = registry_, session = session_, enter, done = std::move(done)](const Event& event) {
               if (std::holds_alternative<SessionChanged>(event)) return done(nullptr);
               registry->in_engine().leave(*session);
               enter(done);
             });
}

// One that rested there ends without a word when a copy of it fails.
bool SessionTurn::may_ask_again(const Refused& refused) {
  if (refused.reason != RefusalReason::unknown_session || std::exchange(asked_again_, true)) return false;
  session_->leave_engine();
  return true;
}

bool SessionTurn::can_be_made_anew(std::int64_t position) const {
  const SessionShape& shape = registry_->shape();
  return contents().past_begin(position, session_->facts().window, shape).has_value();
}

void SessionTurn::accept() {
  accepted_ = true;
  began_at_ = contents().tokens();
  session_->update([&](SessionContents& contents) {
    contents.unsent.clear();
    contents.pending = 0;
    contents.append(added_);
    if (!chat_) return;
    chat_->from = contents.tokens();
    chat_->to = chat_->answering ? std::numeric_limits<std::int64_t>::max() : chat_->from;
    answer_from_ = chat_->answering ? std::optional(chat_->from) : std::nullopt;
    contents.mark(*chat_);
  });
  registry_->on_disk().record_turn(*session_, began_at_);
}

void SessionTurn::tell(TokenId token) {
  session_->update([&](SessionContents& contents) { contents.append({&token, 1}); });
  registry_->on_disk().record_tokens(*session_);
}

void SessionTurn::settle(std::int64_t seen, const std::vector<TokenId>& pending) {
  session_->update([&](SessionContents& contents) {
    contents.replace_from(seen, pending);
    contents.pending = static_cast<std::int64_t>(pending.size());
    const bool ends_answer =
        answer_from_ && !contents.marks.empty() && contents.marks.back().from == *answer_from_;
    if (ends_answer) contents.marks.back().to = contents.tokens();
  });
  registry_->snapshots().save_if_due(session_);
  registry_->on_disk().record_turn(*session_, std::min(began_at_, contents().tokens()));
  release();
}

void SessionTurn::settle(const TurnEnded& event) {
  const bool is_lost = event.reason == FinishReason::failed || event.reason == FinishReason::ending;
  registry_->snapshots().note_replay(*session_, event.replayed_tokens);
  if (!is_lost) return settle(event.usage.seen_tokens, event.pending);
  session_->leave_engine();
  settle(contents().tokens(), {});
}

void SessionTurn::roll_back(std::int64_t to, const std::vector<TokenId>& pending) {
  session_->update([&](SessionContents& contents) {
    contents.truncate(to);
    contents.pending = static_cast<std::int64_t>(pending.size());
  });
  registry_->on_disk().record_turn(*session_, to);
  release();
}

void SessionTurn::release() {
  if (std::exchange(released_, true)) return;
  // It went back in the engine for a turn that was not taken in: what is known of it there is not true any
  // more.
  if (goes_back_ && !accepted_) registry_->in_engine().leave(*session_);
  last_usage_ = session_->view().usage;
  if (session_->is_broken()) {
    registry_->on_disk().revert(*session_);
  } else if (registry_->on_disk().is_there() && engine_id() == kNoSession) {
    session_->leave_memory();
  }
  session_->end_turn(registry_->now());
}

SessionUsage SessionTurn::usage() const {
  return released_ ? last_usage_ : session_->view().usage;
}

}  // namespace sinkstream
