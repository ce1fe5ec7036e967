#include "text/tokenizer/word_cache.h"

namespace sinkstream {

WordCache& WordCache::of_this_thread() {
  thread_local WordCache cache;
  return cache;
}

}  // namespace sinkstream
