// What gpu-bench can time, on a machine with a GPU. Each takes the words behind its name, returns an exit
// code and throws what fails.
#pragma once

#include <span>
#include <string>

namespace sinkstream {

int bench_attention(std::span<const std::string> arguments);
int bench_choose(std::span<const std::string> arguments);
int bench_copy(std::span<const std::string> arguments);
int bench_steps(std::span<const std::string> arguments);
int bench_sums(std::span<const std::string> arguments);  // checks them, too

}  // namespace sinkstream
