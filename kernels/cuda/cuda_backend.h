// The backend on an NVIDIA GPU. Its queue is a CUDA stream; operations go there by way of a Recorder, which
// makes a graph of what comes again. A product's activations are rounded to bf16 where its weight is not f32.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/between_ranks/exchange.h"
#include "kernels/cuda/choosing/slot_states.h"
#include "kernels/cuda/cuda_options.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/queue/event.h"
#include "kernels/cuda/queue/recorder.h"
#include "kernels/cuda/queue/transfers.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels {

class CudaBackend final : public Backend {
 public:
  // `group` as make_backend() has it. Throws StartupError (ExitCode::device).
  CudaBackend(const CudaOptions& options, Communicator& group);
  CudaBackend(const CudaOptions& options, std::unique_ptr<cuda::Exchange> exchange);
  ~CudaBackend() override;

  std::string description() const override;
  int steps_in_flight() const override { return 2; }
  Buffer allocate(std::int64_t bytes, const std::string& purpose) override;
  Buffer allocate_in_host(std::int64_t bytes, const std::string& purpose) override;
  void upload(std::span<const std::byte> from, Address to) override;
  void download(Address from, std::span<std::byte> to) override;
  void discard(Address from, std::int64_t bytes) override;
  std::uint64_t mark() override;
  void wait(std::uint64_t mark) override;
  std::int64_t packed_bytes(const WeightShape& shape) const override;
  std::unique_ptr<SlotStates> make_slot_states(std::int32_t num_slots, std::int64_t vocab_size) override;
  void begin_turn(std::int32_t slot, const SamplingParams& sampling, SlotStates& states) override;
  void end_turn(std::int32_t slot, SlotStates& states) override;

  // Sequences of operations that were launched as a graph so far.
  std::int64_t graphs_launched() const { return recorder_->graphs_launched(); }

 protected:
  int ranks() const override { return exchange_->ranks(); }

 private:
  struct Mark {
    std::uint64_t number;
    cuda::Event event;
  };

  void do_copy(Address from, Address to, const Pieces& pieces) override;
  void do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) override;
  void do_take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                           DeviceSpan<std::int32_t> tokens) override;
  void do_embed(DeviceSpan<const std::int32_t> tokens, const Weight& table, std::int64_t first_token,
                Matrix out) override;
  void do_norm(ConstMatrix x, const Norm& norm, Matrix out) override;
  void do_row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                      Matrix moments) override;
  void do_combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts, float epsilon,
                          Matrix statistics) override;
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
  void do_sum_over_ranks(Matrix x) override;
  void do_sum_and_norm(Matrix partial, const Norm& norm, Matrix hidden, Matrix normed) override;
  void do_gather_over_ranks(ConstMatrix mine, Matrix all) override;
  void do_select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) override;
  void do_choose(ConstMatrix logits, Range vocab, std::int64_t vocab_size, DeviceSpan<const ChoiceTask> tasks,
                 SlotStates& states, DeviceSpan<Choice> out) override;

  // Memory, with its owner; work on it may wait or be under way when that goes.
  Buffer own(void* memory, std::int64_t bytes, cudaError_t (*free)(void*));
  // The stream, with everything launched that was called so far.
  cudaStream_t stream_now();
  cuda::CudaSlotStates::Upload uploader();
  // Adds an operation on the exchange to the calls or, if it isn't queued there, does it at once.
  template <auto kOperation, typename... Arguments>
  void between_ranks(bool is_queued, const Arguments&... arguments);

  std::string name_;                // of the GPU, for people
  std::size_t longest_stride_ = 0;  // of the pieces that it copies by itself
  std::shared_ptr<void> stream_owner_;
  cuda::Device device_;
  Buffer workspace_;
  std::unique_ptr<cuda::Exchange> exchange_;  // outlives the graphs that hold its work
  std::unique_ptr<cuda::Recorder> recorder_;
  std::unique_ptr<cuda::Uploads> uploads_;
  cuda::Downloads downloads_;
  std::uint64_t marks_ = 0;
  std::deque<Mark> open_marks_;  // not known to be done yet
};

}  // namespace sinkstream::kernels
