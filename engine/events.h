// What the engine tells the coordinator. Of one request, events come in order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/sampling_params.h"
#include "base/token_id.h"
#include "engine/commands.h"
#include "engine/session_usage.h"

namespace sinkstream {

// The engine has taken a Generate in; a TurnEnded for each of its choices will come.
struct Accepted {
  RequestId request = 0;
};

enum class RefusalReason : std::uint8_t {
  queue_full,
  ending,  // draining, or the group is lost
  unknown_session,
  session_exists,
  session_busy,     // it is in a turn
  not_as_expected,  // it has another number of tokens; `usage` says which
  failed,           // on some rank
  out_of_reach,     // its cache no longer has that state, or has no slot for it
  invalid,          // `message` says what
};

// Nothing of the command was done.
struct Refused {
  RequestId request = 0;
  RefusalReason reason = RefusalReason::invalid;
  std::string message;
  SessionUsage usage;  // of the session, where it is one's fault
};

struct TokenEvent {
  RequestId request = 0;
  std::int32_t choice = 0;    // of a prompt's tokens: the first of that prompt's
  std::int64_t position = 0;  // in its session, from 0
  TokenId token = 0;
  bool from_prompt = false;  // prompt tokens are reported only with prompt_logprobs; the first has no logprob
  std::optional<float> logprob;
  std::vector<TokenLogprob> top;  // most likely first
  std::int64_t rank = 0;          // of a prompt token with a logprob: 1 for the likeliest; else 0
};

enum class FinishReason : std::uint8_t {
  stop,       // an end token or stop token id, which is not reported as a TokenEvent; or EndTurn
  length,     // max_tokens, or in dense mode the end of max_context
  cancelled,  // the coordinator asked
  failed,     // by what the message says: the checkpoint's fault, or ours
  ending,     // the group is
};

// What a turn leaves: the session has taken in `usage.seen_tokens`; `pending` was told too, but is taken in
// only by the next turn, which begins with it. An end token is neither: whoever goes on says whether it
// belongs to the text. After `failed` a session of its own has ended.
struct TurnEnded {
  RequestId request = 0;
  std::int32_t choice = 0;
  FinishReason reason = FinishReason::stop;
  std::string message;  // for failed and ending
  SessionUsage usage;
  std::optional<TokenId> stop_token;  // for stop: the one that ended it
  std::vector<TokenId> pending;
  std::int64_t replayed_tokens = 0;  // that the session had seen before, and took in anew
};

// A session was opened, forked, rolled back, saved or closed, or EndTurn took one back whose turn had ended.
struct SessionChanged {
  RequestId request = 0;
  SessionId session = kNoSession;
  SessionUsage usage;
  std::vector<TokenId> pending;
};

// Others wait in vain for the slot of a session that rests: it cannot be parked, and no turn goes on that
// would end. Whoever keeps it may close it, and open it again with its past.
struct SlotWanted {
  RequestId request = 0;  // nobody's
  SessionId session = kNoSession;
};

using Event = std::variant<Accepted, Refused, TokenEvent, TurnEnded, SessionChanged, SlotWanted>;

}  // namespace sinkstream
