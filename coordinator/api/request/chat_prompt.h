// Messages of a chat to tokens, by the model's own template.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/api_context.h"
#include "coordinator/api/request/request_fields.h"

namespace sinkstream {

// Reads the fields `messages`, which must be there, `add_generation_prompt`, `continue_final_message`,
// `chat_template_kwargs` and `reasoning_effort`.
// `tools` are for the template; null: none. Throws RequestError (400), also where the template leaves out
// what a system's or developer's message says; of another message that it leaves out, the answer warns.
//
// Names of special tokens in a message or a tool stay plain text: they never become control tokens.
std::vector<TokenId> read_chat_prompt(RequestFields& fields, const nlohmann::ordered_json* tools,
                                      ApiContext& api, Exchange& exchange);

// A chat that a session has taken in, as far as the next turn needs it: the messages that it began with, and
// those since the last user's. After these an answer may stand, which the template has not ended yet.
struct ChatBefore {
  nlohmann::ordered_json pinned;
  nlohmann::ordered_json recent;
  bool answering = false;
  std::string answer;
};

struct ChatTurn {
  std::vector<TokenId> tokens;    // what the session takes in
  nlohmann::ordered_json recent;  // messages since the last user's, the turn's own too
};

// What the messages of the field `messages` add to a session: what the template makes of both together,
// behind what it makes of `before`. `answers`: the answer's beginning too. With nothing before, it is all of
// it. Where the template would write what stands before otherwise, the answer has a warning.
ChatTurn read_chat_turn(RequestFields& fields, const ChatBefore& before, bool answers, ApiContext& api,
                        Exchange& exchange);

// The tokens that messages begin a session with. Throws RequestError (400): the template does not take them
// alone, or writes them otherwise when more follow.
std::vector<TokenId> pinned_tokens(const nlohmann::ordered_json& messages, const RequestFields& fields,
                                   ApiContext& api, Exchange& exchange);

// The newest `count` tokens of what the assistant said in the field `messages`.
std::vector<TokenId> newest_answer_tokens(RequestFields& fields, std::int64_t count, const ApiContext& api);

// The text with marks in it, so that EncodeOptions::literal_mark keeps it from becoming special tokens.
std::string mark_literal(std::string_view text, const Tokenizer& tokenizer, std::string_view mark);

// Puts `mark` after the first character of every occurrence of a name.
std::string mark_names(std::string_view text, const std::vector<std::string>& names, std::string_view mark);

}  // namespace sinkstream
