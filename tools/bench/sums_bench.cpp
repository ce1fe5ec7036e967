// stream-bench sums: what a sum over the ranks that mpirun started takes, by MPI and in shared memory.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/communicator/mpi_communicator.h"
#include "parallel/start/affinity.h"
#include "parallel/start/local_ranks.h"
#include "parallel/start/share_memory.h"
#include "tools/bench/commands.h"
#include "tools/bench/results.h"

namespace sinkstream::bench {
namespace {

struct Options {
  std::vector<std::int64_t> widths = {2048, 4096, 8192};
  std::vector<std::int64_t> rows = {1, 16, 128};
  int repeats = 21;
  std::string json_file;
};

constexpr int kSumsAtOnce = 20;

// Seconds of a sum, in the middle of all repeats.
double seconds_of_sum(Communicator& group, std::int64_t floats, int repeats) {
  std::vector<float> values(static_cast<std::size_t>(floats));
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    group.barrier();
    const auto begin = std::chrono::steady_clock::now();
    for (int sum = 0; sum < kSumsAtOnce; ++sum) group.all_reduce_sum(values);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    seconds.push_back(taken.count() / kSumsAtOnce);
  }
  return median(std::move(seconds));
}

void run(const Options& options) {
  bind_to_cpus(allowed_cpus());  // as the server does: before MPI starts threads
  MpiSession mpi;
  Communicator& group = mpi.communicator();
  std::unique_ptr<Communicator> shared;
  if (group.size() > 1 && find_local_ranks(group).single_host) shared = share_memory(group);
  nlohmann::json sums = nlohmann::json::array();
  if (group.is_leader()) fmt::print("{} rank(s){}\n", group.size(), shared ? "" : "; no memory to share");
  for (const std::int64_t width : options.widths) {
    for (const std::int64_t rows : options.rows) {
      nlohmann::json sum = {{"width", width}, {"rows", rows}};
      sum["mpi_seconds"] = seconds_of_sum(group, width * rows, options.repeats);
      if (shared) sum["shm_seconds"] = seconds_of_sum(*shared, width * rows, options.repeats);
      if (group.is_leader()) {
        fmt::print("  {:4} x {:5}: mpi {:9.1f} us", rows, width, sum["mpi_seconds"].get<double>() * 1e6);
        if (shared) fmt::print(", shm {:9.1f} us", sum["shm_seconds"].get<double>() * 1e6);
        fmt::print("\n");
        std::fflush(stdout);
      }
      sums.push_back(std::move(sum));
    }
  }
  if (group.is_leader()) write_json(options.json_file, {{"ranks", group.size()}, {"sums", sums}});
}

}  // namespace

void add_sums(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "sums", "Times sums over ranks, by MPI and in shared memory: mpirun -np 2 stream-bench sums");
  const auto options = std::make_shared<Options>();
  command->add_option("--widths", options->widths, "of a row: a model's hidden sizes")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "of a step")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "of which the median counts")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--json", options->json_file, "also writes the result to this file");
  command->callback([options] { run(*options); });
}

}  // namespace sinkstream::bench
