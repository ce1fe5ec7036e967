// Rows of logits in vectors, block by block on all threads: how many there are changes no bit.
#pragma once

#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/host/logits_scan.h"

namespace sinkstream::kernels {

class CpuLogitsScan final : public LogitsScan {
 public:
  explicit CpuLogitsScan(ThreadPool& threads) : threads_(threads) {}

  void summarize(std::span<const SummaryTask> tasks, std::span<Summary> out) override;
  void count_up_to(std::span<const CountTask> tasks, std::span<std::int64_t> out) override;
  void best(std::span<const BestTask> tasks, std::int64_t width, std::span<Candidate> out) override;

 private:
  ThreadPool& threads_;
  // Of the scan under way.
  std::vector<Summary> summaries_;
  std::vector<std::int64_t> counts_;
  std::vector<float> maxima_;
};

}  // namespace sinkstream::kernels
