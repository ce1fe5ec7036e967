// A model on several ranks, each a thread of this process.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/make_backend.h"
#include "worker/model/model.h"

namespace sinkstream {

struct GroupSettings {
  std::filesystem::path directory;
  int ranks = 1;
  kernels::WeightFormat weights = kernels::WeightFormat::f32;
  KvCacheSizes cache;
  std::int64_t max_rows = 64;
  std::string backend = "cpu";  // one of test_backends()
};

// Logits of some tokens, [tokens, vocab].
class Logits {
 public:
  Logits() = default;
  explicit Logits(std::int64_t vocab) : vocab_(vocab) {}

  std::int64_t tokens() const { return static_cast<std::int64_t>(values_.size()) / vocab_; }
  std::span<const float> of(std::int64_t token) const {
    return std::span(values_).subspan(static_cast<std::size_t>(token * vocab_),
                                      static_cast<std::size_t>(vocab_));
  }
  void append(std::span<const float> values) { values_.insert(values_.end(), values.begin(), values.end()); }
  const std::vector<float>& values() const { return values_; }

 private:
  std::int64_t vocab_ = 1;
  std::vector<float> values_;
};

TokenId most_likely(std::span<const float> logits);
double negative_log_likelihood(std::span<const float> logits, TokenId token);

// One of kernels::backend_names(), with one thread or one GPU for all ranks; "awkward"; or "cuda-emulated".
std::unique_ptr<kernels::Backend> make_test_backend(const std::string& name, Communicator& group);
std::vector<std::string> test_backends();

// What a test does on each rank; all ranks do the same.
class TestRank {
 public:
  // The backend has a communicator of its own: it may sum while the rank talks.
  TestRank(const GroupSettings& settings, Communicator& control, Communicator& device);

  Model& model() { return model_; }
  bool is_leader() const { return control_.is_leader(); }
  // One step; the whole vocabulary's logits of every row.
  Logits step(std::span<const ModelRow> rows);
  // A session's next tokens in steps of `chunk`.
  Logits feed(int slot, std::span<const TokenId> tokens, std::int64_t first_position,
              const CacheWindow& window, std::int64_t chunk);

 private:
  Communicator& control_;
  std::unique_ptr<kernels::Backend> backend_;
  Model model_;
};

// Runs `body` on every rank; the first rank's exception is rethrown here.
void run_on_ranks(const GroupSettings& settings, const std::function<void(TestRank&)>& body);

// Consecutive rows of one session.
std::vector<ModelRow> make_rows(int slot, std::span<const TokenId> tokens, std::int64_t first_position,
                                const CacheWindow& window);

// Pseudo-random tokens, the same everywhere.
std::vector<TokenId> random_tokens(std::int64_t count, std::int64_t vocab, std::uint32_t seed);

}  // namespace sinkstream
