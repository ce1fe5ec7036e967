// How many prompt tokens a step may take in, by how long steps were seen to take.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace sinkstream {

// A session that waits for its next token waits for the prompts of others, too. Beside decoding sessions a
// step takes in as many prompt tokens as make it `most_slowdown` times as long as a step without them. By
// itself a prompt is read in whole chunks. Results don't depend on it: a row's bits are the same in any step.
class PrefillBudget {
 public:
  // `most_slowdown` 0: always a whole chunk.
  PrefillBudget(std::int64_t chunk, double most_slowdown);

  // For a step with so many decoding sessions: a whole chunk as long as nothing was measured; at times 0, so
  // that a step without prompts is measured.
  std::int64_t tokens(std::int64_t decode_rows) const;

  // Such a step took so long. For those that did nothing else.
  void note(std::int64_t decode_rows, std::int64_t prompt_rows, double seconds);

  // Of prompts that are read by themselves; no value: none was.
  std::optional<double> seconds_per_prompt_token() const { return alone_; }

 private:
  // Steps with nearly as many decoding sessions: 1, 2 or 3, 4 to 7, and so on.
  struct DecodeSteps {
    std::optional<double> seconds;        // of one without prompt tokens
    std::int64_t steps_with_prompts = 0;  // since that was measured
  };
  static std::size_t bucket(std::int64_t decode_rows);

  const std::int64_t chunk_;
  const double most_slowdown_;
  std::array<DecodeSteps, 64> decode_;
  // Seconds that a prompt token costs: by itself, and in a step that decodes.
  std::optional<double> alone_, beside_;
};

}  // namespace sinkstream
