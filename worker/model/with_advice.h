// Memory that is not to be had, told with what the user can change about it.
#pragma once

#include <string>

#include "base/error.h"

namespace sinkstream {

// What `allocate()` returns; the message of a StartupError that it throws ends with the advice.
template <typename Allocate>
auto with_advice(const std::string& advice, const Allocate& allocate) {
  try {
    return allocate();
  } catch (const StartupError& error) {
    throw StartupError(error.code(), std::string(error.what()) + "; " + advice);
  }
}

}  // namespace sinkstream
