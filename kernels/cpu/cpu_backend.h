// The fast backend on this host's processors: vector instructions of the best set that there is, on several
// threads. One file an operation.
#pragma once

#include <string>
#include <vector>

#include "kernels/cpu/dot_units.h"
#include "kernels/cpu/logits_scan.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/host_backend.h"

namespace sinkstream::kernels {

class CpuBackend final : public HostBackend {
 public:
  CpuBackend(int threads, Communicator& group) : HostBackend(group), threads_(threads) {}

  std::string description() const override;

 private:
  LogitsScan& logits_scan() override { return scan_; }
  void do_copy(Address from, Address to, const Pieces& pieces) override;
  void do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) override;
  void do_embed(DeviceSpan<const std::int32_t> tokens, const Weight& table, std::int64_t first_token,
                Matrix out) override;
  void do_norm(ConstMatrix x, const Norm& norm, Matrix out) override;
  void do_row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                      Matrix moments) override;
  void do_normalize_columns(ConstMatrix statistics, Vector weight, Vector bias, std::int64_t first_column,
                            Matrix x) override;
  void do_matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out) override;
  void do_rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies, Matrix cosines,
                        Matrix sines) override;
  void do_rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles, DeviceSpan<const AttentionRow> rows,
                           const HeadShard& shard, const CacheLayerView& cache, Matrix window_queries,
                           Matrix sink_queries) override;
  void do_attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries, ConstMatrix sink_queries,
                    const CacheLayerView& cache, const HeadShard& shard, float scale, Vector alibi_slopes,
                    Matrix out) override;
  void do_silu_multiply(ConstMatrix gate_up, Matrix out) override;
  void do_gelu(ConstMatrix x, Matrix out) override;
  void do_gelu_tanh(ConstMatrix x, Matrix out) override;
  void do_add(ConstMatrix y, Matrix x) override;
  void do_scale(float factor, Matrix x) override;
  void do_clip(float limit, Matrix x) override;

  ThreadPool threads_;
  CpuLogitsScan scan_{threads_};
  // Of the matrix product under way: x as its kernel wants it.
  RoundedRows rounded_;
  std::vector<float> padded_;
};

}  // namespace sinkstream::kernels
