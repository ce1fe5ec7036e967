// The answer to one API request that generates, as its exchange gets it: streamed, or whole at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/api/generation/generation_spec.h"
#include "coordinator/http/exchange.h"

namespace sinkstream {

// One thread at a time.
class Answer {
 public:
  // `usage`: as it is now. `spec` outlives the answer.
  Answer(std::shared_ptr<Exchange> exchange, const GenerationSpec& spec, std::function<Json()> usage);

  void begin();  // of a stream: its head, and what each choice begins with
  void show(std::size_t index, Piece piece);
  void end_choice(std::size_t index, const char* finish_reason);
  void end_stream();

  // Whole.
  bool is_long() const;  // to be written as JSON
  void respond() const;

 private:
  Json body(Json choices) const;

  const std::shared_ptr<Exchange> exchange_;
  const GenerationSpec& spec_;
  const std::function<Json()> usage_;
  const std::string id_;
  const std::int64_t created_;

  // Not streamed: everything so far.
  struct Collected {
    Piece piece;
    const char* finish_reason = nullptr;
  };
  std::vector<Collected> collected_;
};

}  // namespace sinkstream
