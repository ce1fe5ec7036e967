#include "coordinator/api/sessions/session_turn.h"

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
  tokens_before_ = in_engine(before.tokens());
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

void SessionTurn::accept() {
  session_->update([&](SessionContents& contents) {
    contents.unsent.clear();
    contents.has_cache = true;
    contents.pending = 0;
    contents.transcript.append(added_);
    if (!chat_) return;
    chat_->from = contents.tokens();
    chat_->to = chat_->answering ? std::numeric_limits<std::int64_t>::max() : chat_->from;
    answer_from_ = chat_->answering ? std::optional(chat_->from) : std::nullopt;
    contents.mark(*chat_);
  });
}

void SessionTurn::tell(TokenId token) {
  session_->update([&](SessionContents& contents) { contents.transcript.append({&token, 1}); });
}

void SessionTurn::settle(std::int64_t seen, const std::vector<TokenId>& pending) {
  session_->update([&](SessionContents& contents) {
    contents.transcript.truncate(seen);
    contents.transcript.append(pending);
    contents.truncate(contents.tokens());
    contents.pending = static_cast<std::int64_t>(pending.size());
    const bool ends_answer =
        answer_from_ && !contents.marks.empty() && contents.marks.back().from == *answer_from_;
    if (ends_answer) contents.marks.back().to = contents.tokens();
  });
  release();
}

void SessionTurn::settle(const TurnEnded& event) {
  const bool is_lost = event.reason == FinishReason::failed || event.reason == FinishReason::ending;
  if (is_lost) return lose();
  settle(event.usage.seen_tokens, event.pending);
}

void SessionTurn::roll_back(std::int64_t to, const std::vector<TokenId>& pending) {
  session_->update([&](SessionContents& contents) {
    contents.truncate(to);
    contents.pending = static_cast<std::int64_t>(pending.size());
  });
  release();
}

void SessionTurn::lose() {
  registry_->forget(*session_);
  release();
}

void SessionTurn::release() {
  if (std::exchange(released_, true)) return;
  last_usage_ = session_->view().usage;
  session_->end_turn(registry_->now());
}

SessionUsage SessionTurn::usage() const {
  return released_ ? last_usage_ : session_->view().usage;
}

}  // namespace sinkstream
