// How fast this host's processors multiply and add.
#pragma once

#include <string>

#include "kernels/weight.h"

namespace sinkstream::bench {

struct ArithmeticRate {
  std::string instruction;  // that is counted; empty: none is known here
  double operations = 0;    // a second, of all threads; a multiplication and an addition are two
};

// Of the instruction that products with such weights run on: the one for which the cpu backend has a kernel,
// or for float32, where it widens them. All in registers; the best of a few tries.
ArithmeticRate arithmetic_rate(int threads, kernels::WeightFormat format);

}  // namespace sinkstream::bench
