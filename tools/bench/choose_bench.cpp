// stream-bench choose: how long it takes to choose tokens from rows of logits, or to score them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/device_array.h"
#include "kernels/make_backend.h"
#include "parallel/communicator/in_process.h"
#include "tools/bench/commands.h"

namespace sinkstream::bench {
namespace {

struct Options {
  std::string device = "cpu";
  int threads = 1;
  std::int64_t vocab = 128'256;
  std::vector<std::int32_t> rows = {1, 16};
  int repeats = 20;
};

struct Case {
  const char* name;
  SamplingParams sampling;
  kernels::ChoiceTask task = {};
  float spread = 3;  // standard deviation of the logits
};

std::vector<Case> cases() {
  const SamplingParams greedy = {.temperature = 0};
  return {
      {"greedy", greedy},
      {"greedy with penalties", {.temperature = 0, .repetition_penalty = 1.1f, .repeat_last_n = 64}},
      {"greedy with 20 alternatives", greedy, {.logprobs = true, .top_logprobs = kernels::kMaxTopLogprobs}},
      {"temperature 1", {}},
      {"top_k 50", {.top_k = 50}},
      {"top_p 0.95", {.top_p = 0.95f}},
      {"min_p 0.05", {.min_p = 0.05f}},
      {"top_k 50, top_p 0.9, min_p 0.01", {.top_k = 50, .top_p = 0.9f, .min_p = 0.01f}},
      {"top_p 0.95 of flat logits", {.top_p = 0.95f}, {}, 0.1f},
      {"scoring", {}, {.sample = false, .target = 17}},
  };
}

// Seconds of a call, the median.
double time_case(const Case& wanted, std::int32_t rows, const Options& options, kernels::Backend& backend) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, wanted.spread);
  std::vector<float> logits(static_cast<std::size_t>(rows * options.vocab));
  for (float& logit : logits) logit = normal(random);
  std::vector<kernels::ChoiceTask> tasks;
  const auto states = backend.make_slot_states(rows, options.vocab);
  for (std::int32_t slot = 0; slot < rows; ++slot) {
    backend.begin_turn(slot, wanted.sampling, *states);
    tasks.push_back(wanted.task);
    tasks.back().slot = slot;
  }
  const auto on_device = kernels::upload_array<float>(backend, logits, "logits");
  const auto tasks_there = kernels::upload_array<kernels::ChoiceTask>(backend, tasks, "tasks");
  const auto out = kernels::allocate_array<kernels::Choice>(backend, rows, "choices");
  const kernels::Matrix matrix = {on_device.span.data, rows, options.vocab};
  std::vector<double> seconds;
  for (int i = 0; i <= options.repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    backend.choose(matrix, {0, options.vocab}, options.vocab, tasks_there.span, *states, out.span);
    backend.wait(backend.mark());
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::ranges::nth_element(seconds, seconds.begin() + options.repeats / 2);
  return seconds[static_cast<std::size_t>(options.repeats / 2)];
}

void run(const Options& options) {
  const auto group = make_in_process_group(1);
  const auto backend =
      kernels::make_backend({.device = options.device, .threads = options.threads}, *group[0]);
  fmt::print("{} tokens, {}; microseconds of a call, the median of {}\n", options.vocab,
             backend->description(), options.repeats);
  fmt::print("{:34}", "rows");
  for (const std::int32_t rows : options.rows) fmt::print("{:10}", rows);
  fmt::print("\n");
  for (const Case& wanted : cases()) {
    fmt::print("{:34}", wanted.name);
    for (const std::int32_t rows : options.rows) {
      fmt::print("{:10.0f}", 1e6 * time_case(wanted, rows, options, *backend));
    }
    fmt::print("\n");
  }
}

}  // namespace

void add_choose(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("choose", "Times choosing tokens from rows of random logits.");
  const auto options = std::make_shared<Options>();
  command->add_option("--device", options->device, "cpu, cuda or reference")->capture_default_str();
  command->add_option("--threads", options->threads)->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_option("--vocab", options->vocab, "tokens")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--repeats", options->repeats)->check(CLI::Range(1, 10'000))->capture_default_str();
  command->callback([options] { run(*options); });
}

}  // namespace sinkstream::bench
