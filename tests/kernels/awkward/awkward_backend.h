// A backend that is as awkward as a device may be, so that code above the seam can't rely on more than it
// promises:
//   - its addresses fault when the host touches them, and never repeat;
//   - memory ends at a page that its operations may not touch;
//   - every operation is done late, by a thread of its own;
//   - what is downloaded is garbage until a wait for a later mark has returned;
//   - two steps may be in flight.
// It computes on the cpu backend, with one thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "parallel/communicator/communicator.h"
#include "tests/kernels/awkward/awkward_arena.h"
#include "tests/kernels/awkward/late_work.h"

namespace sinkstream::kernels {

class AwkwardBackend final : public Backend {
 public:
  // `group` is used from this backend's thread, any time until the backend is gone: nobody else may use it.
  explicit AwkwardBackend(Communicator& group);

  std::string description() const override { return "awkward, " + inner_.description(); }
  int steps_in_flight() const override { return 2; }
  Buffer allocate(std::int64_t bytes, const std::string& purpose) override;
  Buffer allocate_in_host(std::int64_t bytes, const std::string& purpose) override;  // full of garbage
  void upload(std::span<const std::byte> from, Address to) override;
  void download(Address from, std::span<std::byte> to) override;
  void discard(Address from, std::int64_t bytes) override;
  std::uint64_t mark() override;
  void wait(std::uint64_t mark) override;
  std::int64_t packed_bytes(const WeightShape& shape) const override { return inner_.packed_bytes(shape); }
  std::unique_ptr<SlotStates> make_slot_states(std::int32_t num_slots, std::int64_t vocab_size) override;
  void begin_turn(std::int32_t slot, const SamplingParams& sampling, SlotStates& states) override;
  void end_turn(std::int32_t slot, SlotStates& states) override;

  // Called before a turn begins and before a copy; what one throws, the call throws.
  std::function<void()> before_turn = [] {}, before_copy = [] {}, before_host_memory = [] {};

  // The most marks that were ever given and not yet waited for: steps in flight, where each step has one
  // mark.
  std::uint64_t most_marks_unwaited() const { return most_unwaited_; }
  // Downloads that a later wait will still write to the host.
  std::size_t downloads_unwaited() const { return downloads_.size(); }

 protected:
  int ranks() const override { return ranks_; }

 private:
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

  // Where the memory of an argument is kept.
  Address kept(Address address) const { return arena_.kept(address); }
  Matrix kept(Matrix matrix) const { return {kept(matrix.data), matrix.rows, matrix.cols}; }
  ConstMatrix kept(ConstMatrix matrix) const;
  template <typename T>
  DeviceSpan<T> kept(DeviceSpan<T> span) const {
    return {kept(span.data), span.size};
  }
  Weight kept(const Weight& weight) const;
  Norm kept(const Norm& norm) const;
  CacheLayerView kept(const CacheLayerView& cache) const;
  RotaryAngles kept(const RotaryAngles& angles) const;

  // What was downloaded, until somebody has waited for it.
  struct Download {
    std::uint64_t mark = 0;  // the first that includes it
    std::shared_ptr<std::vector<std::byte>> bytes;
    std::span<std::byte> to;
  };

  int ranks_;
  AwkwardArena arena_;
  CpuBackend inner_;
  std::deque<Download> downloads_;
  std::vector<std::uint64_t> marks_;  // work that each mark includes
  std::uint64_t waited_ = 0;          // the last mark that was waited for
  std::uint64_t most_unwaited_ = 0;
  LateWork late_;  // last: it ends before what it works on
};

}  // namespace sinkstream::kernels
