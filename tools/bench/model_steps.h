// Whole steps of a model, timed: streams that decode, and a prompt's chunk. Every rank of a group does the
// same.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device_array.h"
#include "worker/model/model.h"

namespace sinkstream::bench {

// Steps of some streams, each a greedy token behind its last. Where the backend allows it the next step is
// launched before the tokens of the one before are seen.
class DecodingStreams {
 public:
  // They stand at `position`, as if they had read so many tokens.
  DecodingStreams(Model& model, std::int32_t streams, std::int64_t position, const CacheWindow& window);
  ~DecodingStreams();
  DecodingStreams(const DecodingStreams&) = delete;
  DecodingStreams& operator=(const DecodingStreams&) = delete;

  // Seconds of a step, the median of `repeats` times `steps`.
  double time(int repeats, int steps);

 private:
  std::uint64_t step(bool go_on);
  double time_some(int steps);

  Model& model_;
  std::int64_t position_;
  CacheWindow window_;
  kernels::DeviceArray<kernels::Choice> choices_;
  std::vector<kernels::Choice> chosen_;
};

// Seconds in which one stream takes in `tokens`, `chunk` of them at a step; the median of `repeats`.
double time_prefill(Model& model, std::int64_t tokens, std::int64_t chunk, const CacheWindow& window,
                    int repeats);

}  // namespace sinkstream::bench
