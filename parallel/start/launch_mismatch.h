// Launchers that start several processes of which each is alone: this MPI library does not understand them.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>

namespace sinkstream {

using EnvironmentLookup = std::function<const char*(const char*)>;

// What is wrong and how to start instead, where the launcher's variables name more processes than the
// `world_size` that MPI sees; else empty.
std::string launch_mismatch(int world_size, const EnvironmentLookup& variable = ::getenv);

}  // namespace sinkstream
