// What one API request asks to be generated, and how its answer looks.
#pragma once

#include <memory>
#include <vector>

#include "coordinator/api/generation/answer_format.h"
#include "coordinator/api/generation/choice.h"
#include "coordinator/api/request/generation_options.h"

namespace sinkstream {

class SessionTurn;

struct GenerationSpec {
  GenerationOptions options;
  std::vector<Prompt> prompts;  // choice index = prompt * n + i
  std::shared_ptr<const AnswerFormat> format;
  std::shared_ptr<SessionTurn> session;  // whose turn it is: one prompt, n = 1; null: no session is kept

  std::size_t num_choices() const { return prompts.size() * static_cast<std::size_t>(options.n); }
  const Prompt& prompt_of(std::size_t index) const {
    return prompts[index / static_cast<std::size_t>(options.n)];
  }
};

}  // namespace sinkstream
