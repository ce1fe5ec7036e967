// What choosing reads whole rows of logits for: all of it that costs time in proportion to the vocabulary.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "kernels/candidates.h"

namespace sinkstream::kernels {

// A rank's slice of a row: raw logits, and those adjusted by penalties and bias (the same where nothing is).
struct LogitsRow {
  std::span<const float> raw;
  std::span<const float> adjusted;
  TokenId first_token = 0;
  double temperature = 0;  // 0: that of the most likely token

  std::int64_t size() const { return std::ssize(raw); }
  TokenId token(std::int64_t i) const { return static_cast<TokenId>(first_token + i); }
  double scaled(std::int64_t i) const {
    const double value = adjusted[static_cast<std::size_t>(i)];
    return temperature > 0 ? value / temperature : value;
  }
  Candidate candidate(std::int64_t i, double score) const {
    return {token(i), raw[static_cast<std::size_t>(i)], score};
  }
};

// What is to be found out of a row; with noise, keyed by seed and position, its best is a sample.
struct SummaryTask {
  LogitsRow row;
  bool raw_sum = false;
  bool scaled_sum = false;
  bool best = false;
  std::uint64_t seed = 0;
  std::int64_t position = 0;

  bool noise() const { return row.temperature > 0; }
};

struct Summary {
  ExpSum raw;
  ExpSum scaled;
  Candidate best;
};

// How many of a row's raw logits come before a token's, or are it.
struct CountTask {
  LogitsRow row;
  TokenId token = 0;
  float raw = 0;
};

// A row's best by the raw logits, or by the adjusted and scaled ones.
struct BestTask {
  LogitsRow row;
  bool by_raw = false;

  std::span<const float> logits() const { return by_raw ? row.raw : row.adjusted; }
  Candidate candidate(std::int64_t i) const {
    return row.candidate(i,
                         by_raw ? static_cast<double>(row.raw[static_cast<std::size_t>(i)]) : row.scaled(i));
  }
};

class LogitsScan {
 public:
  virtual ~LogitsScan() = default;

  virtual void summarize(std::span<const SummaryTask> tasks, std::span<Summary> out) = 0;
  virtual void count_up_to(std::span<const CountTask> tasks, std::span<std::int64_t> out) = 0;
  // The best `width` of each task, best first, filled up with none.   out [tasks * width]
  virtual void best(std::span<const BestTask> tasks, std::int64_t width, std::span<Candidate> out) = 0;
};

// Each of them as its definition, one logit after the other.
class PlainLogitsScan final : public LogitsScan {
 public:
  void summarize(std::span<const SummaryTask> tasks, std::span<Summary> out) override;
  void count_up_to(std::span<const CountTask> tasks, std::span<std::int64_t> out) override;
  void best(std::span<const BestTask> tasks, std::int64_t width, std::span<Candidate> out) override;
};

}  // namespace sinkstream::kernels
