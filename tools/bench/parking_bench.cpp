// stream-bench parking: what it costs to park a session and to bring it back, beside a copy of as many bytes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kernels/make_backend.h"
#include "parallel/communicator/in_process.h"
#include "tools/bench/commands.h"
#include "tools/bench/random_model.h"
#include "tools/bench/results.h"
#include "worker/model/kv_cache.h"

namespace sinkstream::bench {
namespace {

struct Options {
  std::string shape = "1b";
  std::string ring = "bf16";
  std::string json_file;
  int threads = 1;
  std::int64_t sinks = 64;
  std::int64_t window = 1024;
  std::int64_t seen = 1'000'000;
  int repeats = 21;
};

// Seconds of each.
struct Times {
  double park, unpark, copy;
};

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Memory that is there, as large as a session, and of the kind in which sessions are parked.
class PlainMemory {
 public:
  PlainMemory(std::int64_t bytes, kernels::Backend& backend)
      : buffer_(backend.allocate_in_host(bytes, "a copy")),
        bytes_(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(buffer_.address())),
               static_cast<std::size_t>(bytes)) {
    std::ranges::fill(bytes_, std::byte{1});
  }

  // As many threads as a rank has copy a part each.
  void copy_to(const PlainMemory& to, int threads) const {
    const auto copy_part = [&](std::size_t part) {
      const std::size_t count = static_cast<std::size_t>(threads);
      const std::size_t begin = bytes_.size() * part / count, end = bytes_.size() * (part + 1) / count;
      std::memcpy(to.bytes_.data() + begin, bytes_.data() + begin, end - begin);
    };
    std::vector<std::jthread> others;
    for (int part = 1; part < threads; ++part) others.emplace_back(copy_part, static_cast<std::size_t>(part));
    copy_part(0);
  }

 private:
  kernels::Buffer buffer_;
  std::span<std::byte> bytes_;
};

// The three by turns, so that what else the machine does meets all alike.
Times time(KvCache& cache, kernels::Backend& backend, std::int64_t bytes, const Options& options) {
  const PlainMemory from(bytes, backend);
  const PlainMemory to(bytes, backend);
  std::vector<double> park, unpark, copy;
  for (int i = -1; i < options.repeats; ++i) {
    const double parking = seconds_of([&] {
      cache.save(0, 0, options.seen);
      backend.wait(backend.mark());
    });
    const double unparking = seconds_of([&] {
      cache.restore(0, 1, options.seen);
      backend.wait(backend.mark());
    });
    const double copying = seconds_of([&] { from.copy_to(to, options.threads); });
    if (i < 0) continue;  // the first takes memory
    park.push_back(parking);
    unpark.push_back(unparking);
    copy.push_back(copying);
  }
  return {.park = median(park), .unpark = median(unpark), .copy = median(copy)};
}

void run(const Options& options) {
  const ModelConfig config = shape_of(options.shape);
  const auto group = make_in_process_group(1);
  const auto backend = kernels::make_backend({.device = "cpu", .threads = options.threads}, *group[0]);
  const ShardPlan shard = make_shard_plan(config.shard_sizes(), 1, 0);
  KvCache cache(config, shard,
                {.num_slots = 2,
                 .num_places = 1,
                 .sink_capacity = options.sinks,
                 .ring_capacity = options.window,
                 .type = kernels::parse_cache_type(options.ring).value()},
                *backend);
  std::int64_t bytes = 0;
  for (const auto& part : cache.parts_of_place(0, options.seen, options.sinks)) {
    std::ranges::fill(part, std::byte{1});
    bytes += std::ssize(part);
  }
  cache.restore(0, 0, options.seen);  // memory that was never written costs little to read
  const Times times = time(cache, *backend, bytes, options);
  fmt::print("{} with {} sinks and a {} ring of {}, {} tokens seen, on {}: {:.1f} MB\n", options.shape,
             options.sinks, options.ring, options.window, options.seen, backend->description(),
             static_cast<double>(bytes) / 1e6);
  const auto show = [&](const char* what, double seconds) {
    fmt::print("  {:8} {:8.3f} ms, {:5.1f} GB/s, {:.2f} of a copy's time\n", what, seconds * 1e3,
               static_cast<double>(bytes) / seconds / 1e9, seconds / times.copy);
  };
  show("park", times.park);
  show("unpark", times.unpark);
  show("copy", times.copy);
  write_json(options.json_file, {{"bytes", bytes},
                                 {"park_seconds", times.park},
                                 {"unpark_seconds", times.unpark},
                                 {"copy_seconds", times.copy}});
}

}  // namespace

void add_parking(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("parking", "Times parking a session and bringing it back, beside a plain copy.");
  const auto options = std::make_shared<Options>();
  command->add_option("--shape", options->shape, kShapesHelp)
      ->check(CLI::IsMember(shape_names()))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "of the rank")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--sinks", options->sinks, "that the session has")
      ->check(CLI::Range(0, 1 << 16))
      ->capture_default_str();
  command->add_option("--window", options->window, "tokens of the ring")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--ring", options->ring, "its type")
      ->check(CLI::IsMember({"bf16", "f32", "int8"}))
      ->capture_default_str();
  command->add_option("--seen", options->seen, "tokens of the session")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "of which the median counts")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--json", options->json_file, "also writes the result to this file");
  command->callback([options] { run(*options); });
}

}  // namespace sinkstream::bench
