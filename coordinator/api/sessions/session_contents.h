// What a session that a client keeps consists of, as the coordinator knows it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/session_shape.h"
#include "base/token_id.h"
#include "coordinator/api/sessions/transcript.h"
#include "engine/commands.h"

namespace sinkstream {

// Where a chat stands while the session has [from, to] tokens: the messages since the last user's, that one
// included. With `answering`, an answer follows them, whose text the tokens from `from` on are.
struct ChatMark {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::shared_ptr<const nlohmann::ordered_json> messages;  // null: the session can't go back there any more
  bool answering = false;
};

// A snapshot of so many tokens.
struct SavedState {
  std::uint64_t save = 0;
  std::int64_t tokens = 0;
};

struct SessionContents {
  Transcript transcript;
  std::int64_t sink_tokens = 0;  // how many of its first tokens stay
  std::vector<TokenId> sinks;    // those, as far as it has them
  // Of its newest tokens, so many at most can be taken back.
  std::int64_t reach = 0;
  // What the engine has not been given yet: the pinned prefix, before the first turn.
  std::vector<TokenId> unsent;
  std::int64_t pending = 0;  // newest tokens that the engine, if it has it, takes in with the next turn
  std::shared_ptr<const nlohmann::ordered_json> pinned_messages;  // null: none
  std::deque<ChatMark> marks;                                     // by position
  std::size_t marks_without_messages = 0;                         // the first of them, all of answers

  // ---- Where sessions are kept on disk
  // Of its first tokens, those that stand there; none: it is in memory only.
  std::optional<std::int64_t> recorded;
  bool replaced = false;               // what stands there behind them is not its own any more
  std::size_t recorded_marks = 0;      // of its first marks, those that stand there
  std::string arithmetic;              // by which its answers were computed: ranks, instruction set, settings
  bool same_arithmetic = true;         // always the one by which they are now
  std::optional<std::int64_t> cut_at;  // it lost what came behind, which was damaged
  // Its snapshots that may be there (engine/snapshot.h): the newest, and the one before, as long as that is
  // being written. Each is one of its own first tokens, also on disk: both are written as one.
  std::vector<SavedState> saved;

  std::int64_t tokens() const { return transcript.end(); }

  // Where its newest tokens begin from which the engine makes its state at `length` tokens anew, so that it
  // can go back from there as any session can, or as far as they are kept. None: too few are.
  std::optional<std::int64_t> past_begin(std::int64_t length, const CacheWindow& window,
                                         const SessionShape& shape) const {
    const auto begin_for = [&](std::int64_t to_take_back) {
      return shape.endless() ? replay_begin(length, to_take_back, window, shape.num_layers) : std::int64_t{0};
    };
    const bool has_all =
        transcript.begin() <= begin_for(1) && std::ssize(sinks) >= std::min(length, window.sink_tokens);
    if (!has_all) return std::nullopt;
    return std::max(transcript.begin(), begin_for(roll_back_reach(window, shape.ring_capacity)));
  }
  Past past(std::int64_t length, std::int64_t begin) const {
    const auto first = std::min<std::int64_t>(std::ssize(sinks), begin);
    return {std::vector<TokenId>(sinks.begin(), sinks.begin() + first), begin,
            transcript.read(begin, length)};
  }

  // Of the chat at its end; null: text that is no message's stands there, or nothing is known.
  const ChatMark* chat() const {
    const bool known = !marks.empty() && marks.back().from <= tokens() && tokens() <= marks.back().to &&
                       marks.back().messages;
    return known ? &marks.back() : nullptr;
  }

  // Where the newest `count` tokens of its answers begin, when it has `end` tokens.
  std::int64_t newest_answers_begin(std::int64_t count, std::int64_t end) const {
    std::int64_t begin = end;
    for (auto mark = marks.rbegin(); mark != marks.rend() && count > 0; ++mark) {
      if (!mark->answering || mark->from >= end) continue;
      const std::int64_t to = std::min(mark->to, end);
      begin = std::max(mark->from, to - count);
      count -= to - begin;
    }
    return begin;
  }

  // The newest `count` tokens of its answers, as far as they are known.
  std::vector<TokenId> newest_answers(std::int64_t count) const {
    std::vector<TokenId> newest;
    for (auto mark = marks.rbegin(); mark != marks.rend() && std::ssize(newest) < count; ++mark) {
      if (!mark->answering) continue;
      const std::int64_t end = std::min(mark->to, tokens());
      const std::int64_t begin = std::max(mark->from, end - (count - std::ssize(newest)));
      const std::vector<TokenId> answer = transcript.read(begin, end);
      newest.insert(newest.begin(), answer.begin(), answer.end());
    }
    return newest;
  }

  void append(std::span<const TokenId> tokens) {
    const auto room = static_cast<std::size_t>(std::max<std::int64_t>(0, sink_tokens - std::ssize(sinks)));
    const auto first = tokens.first(std::min(room, tokens.size()));
    sinks.insert(sinks.end(), first.begin(), first.end());
    transcript.append(tokens, recorded.value_or(this->tokens() + std::ssize(tokens)));
  }

  // Where answers stand is known as far as the transcript goes, messages as far as the session can go back.
  void mark(ChatMark mark) {
    marks.push_back(std::move(mark));
    for (; marks.front().to < transcript.begin(); marks.pop_front()) {
      if (marks_without_messages > 0) --marks_without_messages;
      if (recorded_marks > 0) --recorded_marks;
    }
    while (marks[marks_without_messages].to < tokens() - reach) {
      const auto old = marks.begin() + static_cast<std::ptrdiff_t>(marks_without_messages);
      if (!old->answering) {
        marks.erase(old);
        continue;
      }
      old->messages = nullptr;
      ++marks_without_messages;
    }
  }

  // It has `end` tokens, no more than before, and then `next`.
  void replace_from(std::int64_t end, std::span<const TokenId> next) {
    transcript.truncate(end);
    std::erase_if(saved, [&](const SavedState& state) { return state.tokens > end; });
    if (recorded && end < *recorded) {
      recorded = end;
      replaced = true;
    }
    while (recorded_marks > 0 && marks[recorded_marks - 1].to > end) --recorded_marks;
    sinks.resize(std::min(sinks.size(), static_cast<std::size_t>(end)));
    append(next);
    truncate_marks(tokens());
  }
  void truncate(std::int64_t end) { replace_from(end, {}); }

 private:
  void truncate_marks(std::int64_t end) {
    while (!marks.empty() && marks.back().from > end) marks.pop_back();
    marks_without_messages = std::min(marks_without_messages, marks.size());
    recorded_marks = std::min(recorded_marks, marks.size());
    if (!marks.empty()) marks.back().to = std::min(marks.back().to, end);
  }
};

}  // namespace sinkstream
