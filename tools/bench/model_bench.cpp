// stream-bench model: tokens a second of a model of a well-known shape with random weights.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "kernels/make_backend.h"
#include "parallel/communicator/in_process.h"
#include "parallel/start/share_memory.h"
#include "tools/bench/arithmetic_rate.h"
#include "tools/bench/commands.h"
#include "tools/bench/model_steps.h"
#include "tools/bench/random_model.h"
#include "tools/bench/read_rate.h"
#include "tools/bench/results.h"

namespace sinkstream::bench {
namespace {

constexpr int kRepeats = 5;

struct Options {
  std::string shape = "1b";
  std::vector<std::string> formats = {"bf16", "int8", "int4"};
  std::vector<std::int32_t> streams = {1, 16};
  std::string device = "cpu";
  std::string ring = "bf16";
  std::string json_file;
  int ranks = 1;
  int threads = 1;
  int rank_of = 0;
  std::int64_t layers = 0;
  std::int64_t window = 1020;
  std::int64_t position = 5000;
  std::int64_t prompt = 512;
  std::int64_t chunk = 128;
  int steps = 8;
};

struct Decoding {
  std::int32_t streams;
  double seconds;  // of a step
};

// What rank 0 saw.
struct Times {
  std::string backend;
  std::int64_t weight_bytes = 0;  // that a step reads, all ranks
  double loading_seconds = 0;
  std::vector<Decoding> decoding;
  double prefill_seconds = 0;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// One rank's part; of a share of a larger group nothing is summed.
Times run_rank(const Options& options, const ModelConfig& config, kernels::WeightFormat format,
               Communicator& group) {
  Times times;
  const auto backend = kernels::make_backend({.device = options.device, .threads = options.threads}, group);
  times.backend = backend->description();
  const int ranks = options.rank_of > 0 ? options.rank_of : group.size();
  const ShardPlan shard = make_shard_plan(config.shard_sizes(), ranks, group.rank());
  const auto begin = Clock::now();
  Weights weights = random_weights(config, shard, format, *backend);
  times.weight_bytes = bytes_of_step(config, shard, format, *backend);
  const CacheWindow window = {.sink_tokens = 4, .window_tokens = options.window};
  const std::int32_t slots = *std::ranges::max_element(options.streams);
  const KvCacheSizes cache = {.num_slots = slots,
                              .sink_capacity = 64,
                              .ring_capacity = options.window + options.chunk,
                              .type = kernels::parse_cache_type(options.ring).value()};
  Model model(config, shard, std::move(weights), cache, std::max<std::int64_t>(slots, options.chunk),
              *backend);
  backend->wait(backend->mark());
  times.loading_seconds = seconds_since(begin);
  for (const std::int32_t count : options.streams) {
    DecodingStreams streams(model, count, options.position, window);
    streams.time(1, 2);  // warms up
    times.decoding.push_back({count, streams.time(kRepeats, options.steps)});
  }
  if (options.prompt > 0) {
    times.prefill_seconds = time_prefill(model, options.prompt, options.chunk, window, kRepeats);
  }
  return times;
}

void on_ranks(int count, const std::function<void(int)>& run) {
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < count; ++rank) ranks.emplace_back(run, rank);
  for (std::thread& rank : ranks) rank.join();
}

Times run_group(const Options& options, const ModelConfig& config, kernels::WeightFormat format) {
  const auto group = make_in_process_group(options.ranks);
  std::vector<std::unique_ptr<Communicator>> shared(group.size());  // as the ranks of a host have it
  std::vector<Times> of_rank(group.size());
  std::vector<std::exception_ptr> failures(group.size());
  const auto on_each = [&](const std::function<void(int)>& run) {
    on_ranks(options.ranks, [&](int rank) {
      try {
        run(rank);
      } catch (const std::exception& error) {
        failures[rank] = std::current_exception();
        group[rank]->abort(error.what());
        for (const auto& each : shared) {
          if (each) each->abort(error.what());
        }
      }
    });
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  };
  on_each([&](int rank) { shared[rank] = share_memory(*group[rank]); });
  on_each([&](int rank) { of_rank[rank] = run_rank(options, config, format, *shared[rank]); });
  Times times = of_rank[0];
  for (std::size_t rank = 1; rank < group.size(); ++rank) times.weight_bytes += of_rank[rank].weight_bytes;
  return times;
}

// What the host gives, measured beside the model; 0: not known.
struct Limits {
  double read_rate = 0;
  ArithmeticRate arithmetic;
};

std::string share(double reached, double limit, const char* of) {
  return limit > 0 ? fmt::format(", {:.0f} % of what {} gives", 100 * reached / limit, of) : "";
}

nlohmann::json show(const Options& options, const ModelConfig& config, const std::string& format,
                    const Times& times, const Limits& limits) {
  const auto& [rate, arithmetic] = limits;
  constexpr double kGiga = 1e9;
  fmt::print("{} {}, {}{} rank(s) on {}: {:.2f} GB of weights a step, ready after {:.1f} s\n", options.shape,
             format, options.rank_of > 0 ? fmt::format("rank 0 of {}, ", options.rank_of) : "", options.ranks,
             times.backend, static_cast<double>(times.weight_bytes) / kGiga, times.loading_seconds);
  if (rate > 0) fmt::print("  memory gives {:.1f} GB/s\n", rate / kGiga);
  if (arithmetic.operations > 0) {
    fmt::print("  {} gives {:.0f} GFLOP/s\n", arithmetic.instruction, arithmetic.operations / kGiga);
  }
  nlohmann::json decoding = nlohmann::json::array();
  for (const auto& [streams, seconds] : times.decoding) {
    const double read = static_cast<double>(times.weight_bytes) / seconds;
    fmt::print("  {:3d} streams: {:9.2f} ms a step, {:8.1f} tokens/s, weights read at {:.1f} GB/s{}\n",
               streams, seconds * 1e3, streams / seconds, read / kGiga, share(read, rate, "memory"));
    decoding.push_back({{"streams", streams}, {"step_seconds", seconds}, {"weight_bytes_a_second", read}});
  }
  double prefill_operations = 0;
  if (options.prompt > 0) {
    const double tokens = static_cast<double>(options.prompt) / times.prefill_seconds;
    prefill_operations = tokens * operations_of_token(config) / std::max(1, options.rank_of);
    fmt::print("  prompt of {} tokens, {} at a step: {:.1f} ms, {:.0f} tokens/s{}\n", options.prompt,
               options.chunk, times.prefill_seconds * 1e3, tokens,
               share(prefill_operations, arithmetic.operations, "arithmetic"));
  }
  std::fflush(stdout);
  return {{"weights", format},
          {"backend", times.backend},
          {"weight_bytes", times.weight_bytes},
          {"ready_seconds", times.loading_seconds},
          {"decode", decoding},
          {"prefill_seconds", times.prefill_seconds},
          {"prefill_operations_a_second", prefill_operations},
          {"read_bytes_a_second", rate},
          {"arithmetic", arithmetic.instruction},
          {"arithmetic_operations_a_second", arithmetic.operations}};
}

void run(const Options& options) {
  ModelConfig config = shape_of(options.shape);
  if (options.layers > 0) config.num_layers = std::min(options.layers, config.num_layers);
  if (options.rank_of > 0 && options.ranks > 1) {
    throw StartupError(ExitCode::config, "--rank-of is for --ranks 1: it times one rank of a larger group");
  }
  nlohmann::json result = {{"shape", options.shape},       {"layers", config.num_layers},
                           {"ranks", options.ranks},       {"rank_of", options.rank_of},
                           {"threads", options.threads},   {"window_tokens", options.window},
                           {"position", options.position}, {"prompt", options.prompt},
                           {"chunk", options.chunk},       {"models", nlohmann::json::array()}};
  for (const std::string& name : options.formats) {
    const auto format = kernels::parse_weight_format(name);
    if (!format) throw StartupError(ExitCode::config, "--weights: f32, bf16, int8 or int4, not " + name);
    // Before and after, since what memory gives on a shared machine changes from minute to minute.
    const auto limits_now = [&] {
      const int threads = options.ranks * options.threads;
      return options.device == "cpu" ? Limits{read_rate(threads), arithmetic_rate(threads, *format)}
                                     : Limits();
    };
    Limits limits = limits_now();
    const Times times = run_group(options, config, *format);
    const Limits after = limits_now();
    limits.read_rate = std::max(limits.read_rate, after.read_rate);
    limits.arithmetic.operations = std::max(limits.arithmetic.operations, after.arithmetic.operations);
    result["models"].push_back(show(options, config, name, times, limits));
  }
  write_json(options.json_file, result);
}

}  // namespace

void add_model(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("model", "Times decoding and prompts of a model with random weights.");
  const auto options = std::make_shared<Options>();
  command->add_option("--shape", options->shape, kShapesHelp)
      ->check(CLI::IsMember(shape_names()))
      ->capture_default_str();
  command->add_option("--layers", options->layers, "of the model's layers, the first so many; 0: all");
  command->add_option("--weights", options->formats, "f32, bf16, int8, int4")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--streams", options->streams, "that decode at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--ranks", options->ranks, "in this process")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "of each rank")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--rank-of", options->rank_of, "time one rank of a group of so many, without its sums")
      ->check(CLI::Range(1, 64));
  command->add_option("--device", options->device, "cpu, cuda or reference")->capture_default_str();
  command->add_option("--window", options->window, "tokens")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--ring", options->ring, "its type")
      ->check(CLI::IsMember({"bf16", "f32", "int8"}))
      ->capture_default_str();
  command->add_option("--position", options->position, "where streams stand")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--prompt", options->prompt, "tokens; 0: none is timed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--chunk", options->chunk, "of a prompt, at a step")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--steps", options->steps, "that are timed together")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--json", options->json_file, "also writes the result to this file");
  command->callback([options] { run(*options); });
}

}  // namespace sinkstream::bench
