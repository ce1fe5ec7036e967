// What the coordinator tells the engine. Commands are values that could travel over a wire (messages.h).
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "base/cache_geometry.h"
#include "base/token_id.h"
#include "engine/shared_tokens.h"
#include "engine/snapshot.h"
#include "engine/turn_params.h"

namespace sinkstream {

// Both are chosen by the coordinator, never 0, and never given twice.
using RequestId = std::uint64_t;
using SessionId = std::uint64_t;

inline constexpr SessionId kNoSession = 0;

// Asks for turns: n of each prompt, which take it in once. The engine takes all of them or none, and answers
// with Accepted or Refused. Turns of a request are called choices: that of prompt p and number i is choice
// p * n + i, and its seed is sampling.seed + i.
struct Generate {
  RequestId request = 0;
  // A session that was opened before: this is its next turn, of one prompt and n = 1. It takes in what is
  // pending of the last turn, then the prompt, which may be empty if something is pending. kNoSession: each
  // turn has a session of its own, which ends with it.
  SessionId session = kNoSession;
  // With a session: how many tokens the client thinks it has, taken in and pending; refused if it has another
  // number.
  std::optional<std::int64_t> expected_tokens;
  std::vector<SharedTokens> prompts;  // each token in [0, vocab_size)
  std::int32_t n = 1;
  TurnParams params;
  // How many token events each choice may send before the first Grant.
  std::int64_t credit = 0;
};

inline std::int32_t num_choices(const Generate& command) {
  return static_cast<std::int32_t>(command.prompts.size()) * command.n;
}

// A choice may send so many token events in all, from its first one on. A smaller number than before changes
// nothing.
struct Grant {
  RequestId request = 0;
  std::int32_t choice = 0;
  std::int64_t token_events = 0;
};

// The coordinator ends a choice, at a stop string: its session goes back to `position` tokens, and `pending`
// follow them, told but not taken in. If the turn has ended meanwhile and its session has not, that goes back
// all the same.
struct EndTurn {
  RequestId request = 0;
  std::int32_t choice = 0;
  std::int64_t position = 0;
  std::vector<TokenId> pending;
};

// Nobody wants the answer any more. Each choice still has its TurnEnded.
struct Cancel {
  RequestId request = 0;
};

// ---- Sessions that outlive a request. Each is answered by SessionChanged or Refused.

// Tokens that a session has seen, as far as its state depends on them: those between its sinks and the recent
// ones may be left out (base/cache_geometry.h, replay_begin), by as much as still makes the newest come out
// right, from which the next may be chosen.
struct Past {
  SharedTokens sinks;      // the first: all of the session's, where something is left out
  std::int64_t begin = 0;  // the position of the first of `recent`; sinks.size() where nothing is left out
  SharedTokens recent;

  std::int64_t tokens() const { return begin + static_cast<std::int64_t>(recent.size()); }
  bool has_gap() const { return begin > static_cast<std::int64_t>(sinks.size()); }
};

// A session that has seen `past`, or nothing. It takes a slot with its first turn, and its past in before
// what that brings; between turns it leaves the slot to others that wait for one.
struct OpenSession {
  RequestId request = 0;
  SessionId session = kNoSession;
  std::optional<CacheWindow> window;  // no more than the server's, which is used where there is none
  Past past = {};
  // Its snapshots that may be there: each of its own first tokens. Where one is sound on every rank, the
  // session is taken up there, and takes in only what of its past came later.
  std::vector<SnapshotName> snapshots = {};
};

// A new session that goes on from another as it was at `at` tokens, or as it is now; the other stays.
struct ForkSession {
  RequestId request = 0;
  SessionId session = kNoSession;  // the new one
  SessionId from = kNoSession;
  std::optional<std::int64_t> at;
};

// As it was at `to` tokens. Refused where its cache no longer has what that state had in its window.
struct RollBackSession {
  RequestId request = 0;
  SessionId session = kNoSession;
  std::int64_t to = 0;
};

// Also ends its turn, as Cancel does.
struct CloseSession {
  RequestId request = 0;
  SessionId session = kNoSession;
};

// ---- Snapshots, where the ranks have a directory for them

// Keeps a session's state as it is, if it has so many tokens still and is in no turn; in place of an older
// one of the same name. Answered when it is on every rank's disk, or Refused.
struct SaveSession {
  RequestId request = 0;
  SessionId session = kNoSession;
  std::int64_t tokens = 0;
  SnapshotName name;
};

// The snapshot of a session that has ended goes. No answer.
struct DropSnapshot {
  RequestId request = 0;
  std::uint64_t session = 0;  // of its name
};

// All snapshots go but those of these sessions. No answer.
struct KeepSnapshots {
  RequestId request = 0;
  std::vector<std::uint64_t> sessions;
};

using Command = std::variant<Generate, Grant, EndTurn, Cancel, OpenSession, ForkSession, RollBackSession,
                             CloseSession, SaveSession, DropSnapshot, KeepSnapshots>;

constexpr bool has_answer(const Command& command) {
  return !std::holds_alternative<Grant>(command) && !std::holds_alternative<EndTurn>(command) &&
         !std::holds_alternative<Cancel>(command) && !std::holds_alternative<DropSnapshot>(command) &&
         !std::holds_alternative<KeepSnapshots>(command);
}

}  // namespace sinkstream
