// Exact results that stand beside a checkpoint in reference.json (tools/make_checkpoint.py writes such
// files).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/worker/model/support/rank_group.h"

namespace sinkstream {

struct Reference {
  CacheWindow window;           // dense: no sinks, and a window that holds everything
  std::vector<TokenId> tokens;  // the scored text
  std::vector<double> nll;      // of tokens[1 ...]
  std::vector<float> last_logits;
  std::vector<TokenId> greedy;  // the first prompt_tokens are given
  std::int64_t prompt_tokens = 0;
};

// `mode`: "dense", "window" or "sink".
Reference read_reference(const std::filesystem::path& directory, const std::string& mode);

// Memory for this reference's sessions, with steps of up to `slack_tokens`.
KvCacheSizes cache_for(const Reference& reference, int num_slots, std::int64_t slack_tokens);

// Mean and largest difference of a run's NLL from the reference's.
struct NllError {
  double mean = 0;
  double largest = 0;
};
NllError nll_error(const Reference& reference, const Logits& logits);

// Runs the checkpoint in float32 on `ranks` ranks and expects the reference's NLL, last logits and greedy
// tokens.
void expect_reference(const std::filesystem::path& directory, const std::string& mode, int ranks,
                      const std::string& backend = "cpu");

}  // namespace sinkstream
