#include "tests/worker/model/support/rank_group.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>
#include <optional>
#include <random>
#include <thread>

#include "kernels/cuda/cuda_backend.h"
#include "parallel/communicator/in_process.h"
#include "tests/kernels/awkward/awkward_backend.h"
#include "worker/model/checkpoint/checkpoint.h"

namespace sinkstream {
namespace {

Model make_model(const GroupSettings& settings, const Communicator& group, kernels::Backend& backend) {
  const ModelConfig config = read_model_config(settings.directory);
  const ShardPlan shard = make_shard_plan(config.shard_sizes(), group.size(), group.rank());
  const Checkpoint checkpoint(settings.directory);
  return {config,
          shard,
          load_weights(checkpoint, config, shard, settings.weights, backend, {}),
          settings.cache,
          settings.max_rows,
          backend};
}

}  // namespace

TokenId most_likely(std::span<const float> logits) {
  return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
}

double negative_log_likelihood(std::span<const float> logits, TokenId token) {
  const double top = std::ranges::max(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  return top + std::log(sum) - logits[static_cast<std::size_t>(token)];
}

std::unique_ptr<kernels::Backend> make_test_backend(const std::string& name, Communicator& group) {
  if (name == "awkward") return std::make_unique<kernels::AwkwardBackend>(group);
  if (name == "cuda-emulated") {
    const kernels::CudaOptions options = {.workspace_bytes = 2 << 20, .upload_segment_bytes = 64 << 10};
    return std::make_unique<kernels::CudaBackend>(options, group);
  }
  return kernels::make_backend({.device = name, .threads = 1, .through_host = true}, group);
}

std::vector<std::string> test_backends() {
  std::vector<std::string> names = kernels::backend_names();
  names.push_back("awkward");
  names.push_back("cuda-emulated");
  return names;
}

TestRank::TestRank(const GroupSettings& settings, Communicator& control, Communicator& device)
    : control_(control),
      backend_(make_test_backend(settings.backend, device)),
      model_(make_model(settings, control, *backend_)) {}

Logits TestRank::step(std::span<const ModelRow> rows) {
  const std::int64_t vocab = model_.config().vocab_size;
  const std::int64_t local_vocab = model_.shard().vocab.size();
  const std::int64_t widest = split_evenly(vocab, control_.size(), 0).size();
  std::vector<std::int32_t> all_rows(rows.size());
  std::iota(all_rows.begin(), all_rows.end(), 0);
  model_.forward(rows);

  // Ranks hold different numbers of the vocabulary's rows, and a gather takes equal blocks.
  std::vector<float> mine(rows.size() * static_cast<std::size_t>(widest));
  for (std::size_t first = 0; first < rows.size(); first += kOutputsAtOnce) {
    const std::size_t count = std::min<std::size_t>(kOutputsAtOnce, rows.size() - first);
    const auto logits = model_.logits(std::span(all_rows).subspan(first, count));
    const auto place = std::span(mine).subspan(first * static_cast<std::size_t>(local_vocab));
    backend_->download(logits.data,
                       std::as_writable_bytes(place).first(static_cast<std::size_t>(logits.bytes())));
  }
  backend_->wait(backend_->mark());
  std::vector<float> blocks(mine.size() * static_cast<std::size_t>(control_.size()));
  control_.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(blocks)));

  Logits logits(vocab);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (int rank = 0; rank < control_.size(); ++rank) {
      const auto size = static_cast<std::size_t>(split_evenly(vocab, control_.size(), rank).size());
      const std::size_t block = static_cast<std::size_t>(rank) * mine.size();
      logits.append(std::span(blocks).subspan(block + row * size, size));
    }
  }
  return logits;
}

Logits TestRank::feed(int slot, std::span<const TokenId> tokens, std::int64_t first_position,
                      const CacheWindow& window, std::int64_t chunk) {
  const std::vector<ModelRow> rows = make_rows(slot, tokens, first_position, window);
  Logits logits(model_.config().vocab_size);
  for (std::size_t begin = 0; begin < rows.size(); begin += static_cast<std::size_t>(chunk)) {
    const std::size_t count = std::min(static_cast<std::size_t>(chunk), rows.size() - begin);
    logits.append(step(std::span(rows).subspan(begin, count)).values());
  }
  return logits;
}

void run_on_ranks(const GroupSettings& settings, const std::function<void(TestRank&)>& body) {
  const auto group = make_in_process_group(settings.ranks);
  const auto devices = make_in_process_group(settings.ranks);
  std::vector<std::exception_ptr> failures(group.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < group.size(); ++i) {
    threads.emplace_back([&, i] {
      std::optional<TestRank> rank;  // goes after the group was ended: it may be at work with the other ranks
      try {
        rank.emplace(settings, *group[i], *devices[i]);
        body(*rank);
      } catch (...) {
        failures[i] = std::current_exception();
        for (Communicator* each : {group[i].get(), devices[i].get()}) {
          each->abort("rank " + std::to_string(i) + " failed");
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::exception_ptr first;
  for (const std::exception_ptr& failure : failures) {
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const GroupEnded&) {
      if (!first) first = failure;  // only the echo of another rank's failure, if there is one
    } catch (...) {
      std::rethrow_exception(failure);
    }
  }
  if (first) std::rethrow_exception(first);
}

std::vector<ModelRow> make_rows(int slot, std::span<const TokenId> tokens, std::int64_t first_position,
                                const CacheWindow& window) {
  std::vector<ModelRow> rows;
  for (const TokenId token : tokens) {
    rows.push_back({.slot = slot, .token = token, .position = first_position++, .window = window});
  }
  return rows;
}

std::vector<TokenId> random_tokens(std::int64_t count, std::int64_t vocab, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<TokenId>(random() % static_cast<std::uint32_t>(vocab)));
  }
  return tokens;
}

}  // namespace sinkstream
