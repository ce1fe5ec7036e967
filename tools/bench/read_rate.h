// How fast this host reads memory.
#pragma once

namespace sinkstream::bench {

// Bytes a second that so many threads read together, of memory that no cache holds; the best of a few tries.
double read_rate(int threads);

}  // namespace sinkstream::bench
