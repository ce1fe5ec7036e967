// Every operation that computes on activations, written as its definition, one element after the other,
// summed in float64. Slow, and the measure of the other backends: change it only when a definition changes.
// What all backends in host memory share (choosing, collectives, copies: kernels/host/) has oracles in its
// own tests.
#pragma once

#include <string>

#include "kernels/host/host_backend.h"

namespace sinkstream::kernels {

class ReferenceBackend final : public HostBackend {
 public:
  explicit ReferenceBackend(Communicator& group) : HostBackend(group) {}

  std::string description() const override { return "reference"; }

 private:
  LogitsScan& logits_scan() override { return plain_; }
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

  PlainLogitsScan plain_;
};

}  // namespace sinkstream::kernels
