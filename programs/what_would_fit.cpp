#include "programs/what_would_fit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/weight.h"
#include "programs/sizing.h"

namespace sinkstream {
namespace {

// Of all ranks, the sessions that the fullest has room for; may be less than 0.
std::int64_t fewest_sessions(const Config& config, const ModelConfig& model, int world_size,
                             std::int64_t available_bytes) {
  const SessionSizing sessions = size_sessions(config, model);
  std::int64_t fewest = sessions_that_fit(size_rank(config, model, sessions, world_size, 0), available_bytes);
  for (int rank = 1; rank < world_size; ++rank) {
    fewest = std::min(
        fewest, sessions_that_fit(size_rank(config, model, sessions, world_size, rank), available_bytes));
  }
  return fewest;
}

// A window below this is no use to anybody.
constexpr std::int64_t kSmallestWindow = 128;

// The largest window that fits, or 0.
template <typename Fits>
std::int64_t largest_window(const Config& config, const Fits& fits) {
  Config changed = config;
  for (std::int64_t window = config.cache.window_tokens / 2; window >= kSmallestWindow; window /= 2) {
    changed.cache.window_tokens = window;
    if (fits(changed)) return window;
  }
  return 0;
}

}  // namespace

std::string what_would_fit(const Config& config, const ModelConfig& model, int world_size,
                           std::int64_t available_bytes) {
  const std::int64_t wanted = config.cache.slots.value_or(1);
  const auto fits = [&](const Config& changed) {
    return fewest_sessions(changed, model, world_size, available_bytes) >= wanted;
  };
  std::vector<std::string> changes;
  const std::int64_t sessions = fewest_sessions(config, model, world_size, available_bytes);
  if (sessions > 0) changes.push_back("cache.slots: " + std::to_string(sessions));
  if (config.cache.mode != CacheMode::dense) {
    const std::int64_t window = largest_window(config, fits);
    if (window > 0) changes.push_back("cache.window_tokens: " + std::to_string(window));
  }
  Config changed = config;
  changed.parking.bytes = 0;
  if (config.parking.bytes && fits(changed)) changes.push_back("a lower sessions.parked_bytes");
  changed = config;
  for (const char* format : {"bf16", "int8", "int4"}) {
    changed.model.weights = format;
    if (format != config.model.weights && fits(changed)) {
      changes.push_back(std::string("model.weights: ") + format);
      break;
    }
  }
  for (int ranks = world_size + 1; ranks <= model.num_heads; ++ranks) {
    if (fewest_sessions(config, model, ranks, available_bytes) < wanted) continue;
    changes.push_back(std::to_string(ranks) + " ranks with as much memory each");
    break;
  }
  if (changes.empty()) return "no setting alone makes it fit; use more ranks with more memory each";
  std::string text = "it fits with ";
  for (std::size_t i = 0; i < changes.size(); ++i) text += (i == 0 ? "" : ", or with ") + changes[i];
  return text;
}

}  // namespace sinkstream
