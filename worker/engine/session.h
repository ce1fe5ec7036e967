// What the scheduler keeps of sessions. Three lives, each with its own beginning and end: a session is the
// tokens that were taken in; a turn is one choice of a request, which makes it grow; its residence is the
// slot where its cache stands, or the place where it is parked between turns.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/cache_geometry.h"
#include "engine/commands.h"
#include "engine/session_usage.h"

namespace sinkstream {

// The token events of one choice, as far as the coordinator lets them flow.
struct Credit {
  std::int64_t granted = 0;
  std::int64_t used = 0;  // by tokens in plans: what a step puts out has a place to go to

  std::int64_t left() const { return std::max<std::int64_t>(0, granted - used); }
};

// A Generate that was taken in.
struct ActiveRequest {
  using Clock = std::chrono::steady_clock;

  explicit ActiveRequest(Generate generate, Clock::time_point at)
      : command(std::move(generate)), received(at) {
    credits.resize(command.prompts.size() * static_cast<std::size_t>(command.n), {command.credit, 0});
  }

  Generate command;
  Clock::time_point received;
  std::vector<Credit> credits;  // by choice

  Credit& credit(std::int32_t choice) { return credits[static_cast<std::size_t>(choice)]; }
  const SharedTokens& prompt(std::int32_t choice) const {
    return command.prompts[static_cast<std::size_t>(choice / command.n)];
  }
  // The first of those that share this one's prompt: it is told the prompt's log-probabilities.
  std::int32_t first_of_prompt(std::int32_t choice) const { return choice - choice % command.n; }
};

// Consecutive choices of one prompt.
struct Choices {
  std::shared_ptr<ActiveRequest> request;
  std::int32_t first = 0;
  std::int32_t count = 0;

  bool empty() const { return count == 0; }
  std::int32_t take() {
    --count;
    return first++;
  }
  const SharedTokens& prompt() const { return request->prompt(first); }
  // Whether they take their prompt in once: copying what one token leaves is no gain.
  bool share_prefill() const { return count > 1 && prompt().size() > 1; }
};

struct Turn {
  std::shared_ptr<ActiveRequest> request;
  std::int32_t choice = 0;
  std::int64_t tokens_planned = 0;                    // tokens to be chosen in plans
  std::int64_t generated = 0;                         // and those that have been
  std::int64_t replayed = 0;                          // of its session's past, in plans
  TokenId last_told = 0;                              // of them
  std::chrono::steady_clock::time_point phase_begin;  // of the prefill, then of the decoding

  const TurnParams& params() const { return request->command.params; }
  Credit& credit() { return request->credit(choice); }
  bool wants_more() const { return tokens_planned < params().max_tokens; }
  // What is told and not taken in: the newest token.
  std::vector<TokenId> untaken() const {
    return generated > 0 ? std::vector<TokenId>{last_told} : std::vector<TokenId>{};
  }
};

// Tokens that a session is to take in.
struct Input {
  SharedTokens tokens;
  std::int64_t begin = 0;  // the position of the first
  std::int64_t size = 0;   // of them, those to be taken in
  // Of a session whose past is taken in: positions [gap_begin, gap_end) are left out, and have no tokens
  // here.
  std::int64_t gap_begin = 0, gap_end = 0;
  // Whether their log-probabilities are wanted, from the one behind the first `told` on: those were pending,
  // and told when they were chosen.
  bool scored = false;
  std::int64_t told = 0;
  bool first_told = false;  // the first token has no log-probability, and is told by itself

  std::int64_t end() const { return begin + size + (gap_end - gap_begin); }
  // Of the token at `position`, which is not left out, in `tokens`.
  std::int64_t index(std::int64_t position) const {
    return position - begin - (position >= gap_end ? gap_end - gap_begin : 0);
  }
  TokenId at(std::int64_t position) const { return tokens[static_cast<std::size_t>(index(position))]; }
};

// A session that was opened and has no slot yet: it takes one with its first turn.
struct NewSession {
  CacheWindow window;
  Past past;
  std::vector<TokenId> pending;  // what turns that were cancelled before they had a slot would have taken in
  std::vector<SnapshotName> snapshots = {};
  std::optional<Snapshot> found = {};  // which its next turn begins with

  std::int64_t tokens() const { return past.tokens() + static_cast<std::int64_t>(pending.size()); }
};

struct Session {
  // Never given again, and a new one with each roll-back: what steps under way still put out for an old one
  // belongs to nobody.
  std::uint64_t number = 0;
  SessionId id = kNoSession;  // kNoSession: it ends with its turn
  // In a slot, in a place, or in both while it is being saved.
  std::optional<std::int32_t> slot, place;
  CacheWindow window;
  // Tokens in plans; those of them in steps whose outcome is known; the most that ever stood in the ring.
  std::int64_t planned = 0, seen = 0, written = 0;
  // What it had seen before it took its slot, and takes in anew, by several turns where some are cancelled
  // meanwhile; and the fewest tokens that it can go back to since, where some were left out.
  Past past;
  std::int64_t sound_from = 0;
  std::int64_t saved = 0;  // while it is parked: as many as it had then; it may have gone back since
  Input input;
  std::vector<TokenId> pending;  // between turns: told, not taken in
  RequestId last_request = 0;    // of its last turn
  std::uint64_t last_use = 0;    // greater than that of those that were used before
  bool slot_wanted = false;      // since then its slot was asked for (SlotWanted)
  std::optional<Turn> turn;
  std::chrono::steady_clock::time_point began;  // in its slot
  // Choices that begin where this session stands once it has its input: each with a copy of it, the last with
  // the session itself. There is no turn meanwhile.
  Choices branches;

  bool replays() const { return planned < past.tokens(); }
  std::int64_t input_left() const { return std::max<std::int64_t>(0, input.end() - planned); }
  // Of its own, and not pending: all of its past, though that may still have to be taken in anew.
  std::int64_t taken_in() const { return std::max(seen, past.tokens()); }
  std::int64_t tokens() const { return taken_in() + static_cast<std::int64_t>(pending.size()); }
  bool resting() const { return !turn && branches.empty(); }
  // Whether it could give up its slot: it rests, outlives that, and is not about to.
  bool can_be_parked() const { return id != kNoSession && slot && !place && resting(); }
  // Whose prompt it takes in, or whose turn it is in.
  const std::shared_ptr<ActiveRequest>& request() const { return turn ? turn->request : branches.request; }
  SessionUsage usage() const { return session_usage(taken_in(), window); }
};

}  // namespace sinkstream
