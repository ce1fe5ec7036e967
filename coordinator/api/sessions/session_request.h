// What requests say about sessions, and how a session is shown.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/api/api_context.h"
#include "coordinator/api/generation/answer_format.h"
#include "coordinator/api/request/request_fields.h"
#include "coordinator/api/sessions/session_turn.h"

namespace sinkstream {

Json session_json(const ClientSession& session);

// The id in a path /v1/sessions/{id} or /v1/sessions/{id}/...; empty: it is another path.
std::string session_id_in(const std::string& path);

// How many tokens the client takes its session to have, if it says so.
std::optional<std::int64_t> read_expected_seen(RequestFields& fields);

// Begins the turn that the fields `session` and `expected_seen` ask for; null: none. Throws RequestError:
// 404, 409, or 400 for a session with n > 1.
std::shared_ptr<SessionTurn> read_session(RequestFields& fields, std::int64_t n, ApiContext& api,
                                          const Request& request);

// Plans the turn with the field `messages`. `answers`: an answer is to follow.
void plan_chat_turn(SessionTurn& turn, RequestFields& fields, bool answers, ApiContext& api,
                    Exchange& exchange);

// A text or a list of token ids in the field `prompt`; without `add_special_tokens` only what begins a
// session gets special tokens. Nothing: the field is absent.
std::vector<TokenId> read_session_prompt(RequestFields& fields, bool begins, const ApiContext& api);

// A number of tokens that the session may have again, in the field `name`.
std::optional<std::int64_t> read_position(RequestFields& fields, const char* name, const SessionTurn& turn);

// Whether the state that the engine refuses to make can be made anew instead.
bool can_do_without_engine(const Refused& event);
// Where it can't: 409 that says what could be done.
RequestError state_error(const Refused& event, const SessionTurn& turn, std::int64_t position,
                         const std::string& request_id);

}  // namespace sinkstream
