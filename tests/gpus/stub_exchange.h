// Stands in for other ranks, so that one rank of many can be timed alone: a sum waits as long as one between
// GPUs would take and changes nothing, a gather repeats this rank's own.
#pragma once

#include <memory>

#include "kernels/cuda/between_ranks/exchange.h"

namespace sinkstream::kernels::cuda {

std::unique_ptr<Exchange> make_stub_exchange(int ranks, float microseconds);

}  // namespace sinkstream::kernels::cuda
