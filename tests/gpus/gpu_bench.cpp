// gpu-bench NAME [ARGUMENT...]: times a part of the CUDA backend.
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "tests/gpus/benches.h"

int main(int argc, char** argv) {
  using namespace sinkstream;
  const std::map<std::string, int (*)(std::span<const std::string>)> benches = {
      {"attention", bench_attention},
      {"choose", bench_choose},
      {"copy", bench_copy},
      {"steps", bench_steps},
      {"sums", bench_sums}};
  const auto bench = argc > 1 ? benches.find(argv[1]) : benches.end();
  if (bench == benches.end()) {
    std::fprintf(stderr, "usage: gpu-bench NAME [ARGUMENT...], where NAME is one of");
    for (const auto& [name, function] : benches) std::fprintf(stderr, " %s", name.c_str());
    std::fprintf(stderr, "\n");
    return 2;
  }
  try {
    return bench->second(std::vector<std::string>(argv + 2, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu-bench %s: %s\n", argv[1], error.what());
    return 1;
  }
}
