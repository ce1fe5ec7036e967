// How an endpoint shows the progress of a generation: the parts of its JSON that differ between endpoints.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/api/generation/choice.h"

namespace sinkstream {

using Json = nlohmann::ordered_json;  // answers keep the order in which they are written

// Immutable; any thread. The functions give one entry of "choices".
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  virtual std::string id_prefix() const = 0;
  virtual std::string object(bool stream) const = 0;

  virtual Json opening(int index,
                       const Prompt& prompt) const = 0;  // null: nothing is sent before the first piece
  virtual Json piece(int index, const Piece& piece) const = 0;
  virtual Json end(int index, const char* finish_reason) const = 0;
  virtual Json whole(int index, const Piece& piece, const Prompt& prompt,
                     const char* finish_reason) const = 0;
  // To the whole answer, of its first choice.
  virtual void add_members(Json&, const Piece&) const {}
};

// Valid UTF-8 whatever the strings hold.
std::string to_text(const Json& json);
// "data: ...\n\n"
std::string to_event(const Json& json);

// As vLLM shows them: for each token null, if it has none, or an object from token id to "logprob", "rank"
// and "decoded_token", of the token itself and of the likeliest.
Json prompt_logprobs_json(const std::vector<TokenReport>& prompt, const Tokenizer& tokenizer);

// JSON has no infinity; clients expect this for a token that cannot be.
double shown_logprob(float logprob);

}  // namespace sinkstream
