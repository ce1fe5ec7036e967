// What every session of a server remembers, and what its slot has room for.
#pragma once

#include <cstdint>

#include "base/cache_geometry.h"

namespace sinkstream {

struct SessionShape {
  CacheWindow window;              // dense mode: no sinks, and a window that holds max_context
  std::int64_t max_context = 0;    // dense mode: the most tokens that it may see; 0: endless
  std::int64_t sink_capacity = 0;  // at least window.sink_tokens
  std::int64_t ring_capacity = 1;  // window.window_tokens and the slack; dense mode: max_context
  std::int64_t num_layers = 1;     // of the model: how far back its state depends on its tokens

  bool endless() const { return max_context == 0; }
  // The longest text that is remembered whole.
  std::int64_t remembered_tokens() const {
    return endless() ? window.sink_tokens + window.window_tokens : max_context;
  }
};

}  // namespace sinkstream
