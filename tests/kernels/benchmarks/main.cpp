// kernel-benchmarks [--device cpu] [--threads 1] [Google Benchmark's options]: each operation of a backend by
// itself.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <memory>

#include "kernels/make_backend.h"
#include "parallel/communicator/in_process.h"
#include "tests/kernels/benchmarks/bench_backend.h"

namespace sinkstream::kernels {
namespace {

Backend* chosen = nullptr;

void run(const BackendOptions& options) {
  const auto group = make_in_process_group(1);
  const std::unique_ptr<Backend> backend = make_backend(options, *group.front());
  chosen = backend.get();
  benchmark::AddCustomContext("backend", backend->description());
  benchmark::RunSpecifiedBenchmarks();
}

}  // namespace

Backend& bench_backend() {
  return *chosen;
}

}  // namespace sinkstream::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);  // takes its own options out
  sinkstream::kernels::BackendOptions options;
  CLI::App app(
      "Times each operation of a backend by itself; --benchmark_filter=REGEX and the like are Google "
      "Benchmark's.");
  app.add_option("--device", options.device, "a backend")
      ->check(CLI::IsMember(sinkstream::kernels::device_names()))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "of the cpu backend")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    sinkstream::kernels::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel-benchmarks: %s\n", error.what());
    return 1;
  }
}
