// A device and the one list of operations on it, at the grain of a paper's step.
//
// Every operation is deterministic, and a row of its result depends on that row's input alone: not on how
// many rows there are, not on the number of threads.
//
// Work is queued and done in order; it may be done any time before a wait that includes it returns. So
// nothing above a backend reads what an operation wrote but by download() and wait(). What is passed by
// reference is copied; a Buffer or SlotStates may go while work on it is queued. Once work has failed nothing
// after it is done, every wait rethrows the failure, and what was to be downloaded stays undefined. A backend
// is called from one thread at a time, and outlives what it made.
//
// Legend:  rows        tokens in this step (any mix of prefill chunks and decode tokens)
//          width       hidden size, or any feature count
//          local_*     this rank's share; names without it are the whole model's
// Shapes are checked when an operation is called; a mismatch throws std::invalid_argument. What is in device
// memory (slots and positions of rows) is trusted: StepRows checks it before it is uploaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/choice.h"
#include "kernels/device_memory.h"
#include "kernels/stored_rows.h"
#include "kernels/types.h"
#include "kernels/weight.h"

namespace sinkstream::kernels {

class Backend {
 public:
  Backend() = default;
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // ---- Itself
  // For people, e.g. "cpu, AVX2, 2 threads".
  virtual std::string description() const = 0;
  // How many steps may be launched before the first of them is collected; at least 1.
  virtual int steps_in_flight() const = 0;

  // ---- Memory
  // Zeroed, and backed by physical memory only as it is written where the device can do that. Throws
  // StartupError (ExitCode::device), with the bytes, when it is not to be had; `purpose` is for its message.
  virtual Buffer allocate(std::int64_t bytes, const std::string& purpose) = 0;
  // Memory of this host, at its own address, that copy() reaches too: for what is put aside. Whoever has
  // waited for what was queued may read and write it. At first it is undefined. Throws as allocate() does.
  virtual Buffer allocate_in_host(std::int64_t bytes, const std::string& purpose) = 0;
  // `from` may change as soon as it returns.
  virtual void upload(std::span<const std::byte> from, Address to) = 0;
  // `to` holds it, and must live, until a wait for a later mark has returned.
  virtual void download(Address from, std::span<std::byte> to) = 0;
  // Zeroes, and gives physical memory back where the device can do that.
  virtual void discard(Address from, std::int64_t bytes) = 0;
  // Copies pieces that begin at `from` to where they then stand from `to` on: within the device, or between
  // it and memory of allocate_in_host(), and without touching what is between them. From the first to the
  // last, the two do not overlap.
  void copy(Address from, Address to, const Pieces& pieces);

  // ---- The queue
  // Marks are counted from 1; a wait for one returns when all that was queued before it is done, and rethrows
  // what failed.
  virtual std::uint64_t mark() = 0;
  virtual void wait(std::uint64_t mark) = 0;

  // ---- Weights
  virtual std::int64_t packed_bytes(const WeightShape& shape) const = 0;
  Weight allocate_weight(const WeightShape& shape);
  // Packs rows [first_row, first_row + rows.rows) of a weight; `rows` may change as soon as it returns.
  //   rows [any, shape.packed_columns()]
  void pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight);

  // ---- A step's tokens
  virtual std::unique_ptr<SlotStates> make_slot_states(std::int32_t num_slots, std::int64_t vocab_size) = 0;
  // A new turn in a slot: nothing chosen yet.
  virtual void begin_turn(std::int32_t slot, const SamplingParams& sampling, SlotStates& states) = 0;
  // What was kept of the turn goes: what it has chosen, its penalties' counts.
  virtual void end_turn(std::int32_t slot, SlotStates& states) = 0;
  // Each token that is kLastChosen becomes the one chosen last in its row's slot.   slots, tokens [rows]
  void take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                        DeviceSpan<std::int32_t> tokens);

  // out[r] = table[tokens[r] - first_token]; zero when the token's row belongs to another rank.
  //   tokens [rows], table [local_vocab, hidden], out [rows, hidden]
  void embed(DeviceSpan<const std::int32_t> tokens, const Weight& table, std::int64_t first_token,
             Matrix out);

  // ---- Norms
  //   x, out [rows, width]
  void norm(ConstMatrix x, const Norm& norm, Matrix out);

  // A layer norm over features that are spread over ranks: each rank measures its own columns
  // [first_column, first_column + columns) of every row, the ranks gather what they measured and combine it
  // in rank order (Chan et al. 1979), then each normalizes the columns that it has.
  //   moments [rows, 2]: mean, and sum of squared differences from it; zero if columns = 0
  void row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns, Matrix moments);
  //   moments [ranks * rows, 2], counts [ranks]: columns that each rank measured; statistics [rows, 2]: mean,
  //   1 / sqrt(variance + epsilon)
  void combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts, float epsilon,
                       Matrix statistics);
  //   statistics [rows, 2], weight [columns], bias [columns] or empty
  void normalize_columns(ConstMatrix statistics, Vector weight, Vector bias, std::int64_t first_column,
                         Matrix x);

  // ---- Linear layers
  // out = x * weight^T (+ bias).   x [rows, in_features], bias [out_features] or empty, out [rows,
  // out_features]
  void matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out);

  // ---- Attention
  // Cosines and sines of position * inverse_frequency, the product taken in float64 because float32 is off by
  // 4e-2 at position 4,000,000.   positions [rows], inverse_frequencies [half], cosines, sines [rows, half]
  void rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies, Matrix cosines,
                     Matrix sines);

  // Rotary embedding (Su et al. 2021) in the half-split layout: dimensions i and i + half of each head turn
  // together, half = cosines.cols; dimensions from 2 * half on are copied. Queries are rotated twice, at
  // their true position and at the one within the cache. Keys are rotated at their true position and stored
  // with their values in the ring and, where position < sink_capacity, in the sinks. Rows of one step take
  // places of their own in the ring (StepRows checks it).
  //   qkv [rows, (local_heads + 2 * local_kv_heads) * head_dim]: queries, keys, values
  //   window_queries, sink_queries [rows, local_heads * head_dim]
  void rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles, DeviceSpan<const AttentionRow> rows,
                        const HeadShard& shard, const CacheLayerView& cache, Matrix window_queries,
                        Matrix sink_queries);

  // Softmax attention over sinks and window with one softmax over both (Xiao et al. 2023, section 3.2).
  // Scores of the sinks use `sink_queries`, rotated at the position within the cache; those of the window
  // `window_queries`, rotated at the true position. Sums run in ascending position, in fixed lanes.
  // With ALiBi (Press et al. 2022) head h's score is scale * q.k - alibi_slopes[h] * distance, where distance
  // counts the tokens that are kept between key and query. Keys of these rows' slots that were stored since
  // the last upload are those of `rows`, so that a backend may read the others early.
  //   window_queries, sink_queries, out [rows, local_heads * head_dim], alibi_slopes [local_heads] or empty
  void attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries, ConstMatrix sink_queries,
                 const CacheLayerView& cache, const HeadShard& shard, float scale, Vector alibi_slopes,
                 Matrix out);

  // ---- Elements
  // out = silu(gate) * up, where a row of gate_up is [gate, up] (Shazeer 2020).
  //   gate_up [rows, 2 * width], out [rows, width]
  void silu_multiply(ConstMatrix gate_up, Matrix out);
  // out = gelu(x) = x * Phi(x), by the error function (Hendrycks & Gimpel 2016).   x, out [rows, width]
  void gelu(ConstMatrix x, Matrix out);
  // The same by its tanh approximation: out = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
  void gelu_tanh(ConstMatrix x, Matrix out);
  // x += y.   [rows, width]
  void add(ConstMatrix y, Matrix x);
  // x *= factor.   [rows, width]
  void scale(float factor, Matrix x);
  // x = min(max(x, -limit), limit).   [rows, width], limit > 0
  void clip(float limit, Matrix x);

  // ---- Between ranks: every rank calls the same ones in the same order with the same shapes
  // x = the sum over ranks, each element added in rank order: ((r0 + r1) + r2) + ...
  void sum_over_ranks(Matrix x);
  // hidden += the sum of `partial` over ranks; normed = norm(hidden).   all [rows, hidden]
  void sum_and_norm(Matrix partial, const Norm& norm, Matrix hidden, Matrix normed);
  // all = every rank's matrix, one below the other in rank order.   mine [rows, cols], all [ranks * rows,
  // cols]
  void gather_over_ranks(ConstMatrix mine, Matrix all);

  // ---- Outputs
  // out[i] = x[selected[i]].   x [rows, width], selected [outputs], out [outputs, width]
  void select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out);
  // Between ranks. Chooses a token from each row of logits, or scores one, without gathering the vocabulary;
  // every rank comes to the same result. A chosen token becomes its slot's last.
  //   logits [outputs, vocab.size()]: columns `vocab` of the raw logits; tasks, out [outputs]
  void choose(ConstMatrix logits, Range vocab, std::int64_t vocab_size, DeviceSpan<const ChoiceTask> tasks,
              SlotStates& states, DeviceSpan<Choice> out);

 protected:
  virtual int ranks() const = 0;

 private:
  // Memory for weights, which are read whole at every step.
  virtual Buffer allocate_for_weight(std::int64_t bytes) { return allocate(bytes, "the weights"); }

  // The same, with arguments that fit each other.
  virtual void do_copy(Address from, Address to, const Pieces& pieces) = 0;
  virtual void do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) = 0;
  virtual void do_take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                                   DeviceSpan<std::int32_t> tokens) = 0;
  virtual void do_embed(DeviceSpan<const std::int32_t> tokens, const Weight& table, std::int64_t first_token,
                        Matrix out) = 0;
  virtual void do_norm(ConstMatrix x, const Norm& norm, Matrix out) = 0;
  virtual void do_row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                              Matrix moments) = 0;
  virtual void do_combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts, float epsilon,
                                  Matrix statistics) = 0;
  virtual void do_normalize_columns(ConstMatrix statistics, Vector weight, Vector bias,
                                    std::int64_t first_column, Matrix x) = 0;
  virtual void do_matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out) = 0;
  virtual void do_rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                                Matrix cosines, Matrix sines) = 0;
  virtual void do_rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles,
                                   DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                                   const CacheLayerView& cache, Matrix window_queries,
                                   Matrix sink_queries) = 0;
  virtual void do_attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
                            ConstMatrix sink_queries, const CacheLayerView& cache, const HeadShard& shard,
                            float scale, Vector alibi_slopes, Matrix out) = 0;
  virtual void do_silu_multiply(ConstMatrix gate_up, Matrix out) = 0;
  virtual void do_gelu(ConstMatrix x, Matrix out) = 0;
  virtual void do_gelu_tanh(ConstMatrix x, Matrix out) = 0;
  virtual void do_add(ConstMatrix y, Matrix x) = 0;
  virtual void do_scale(float factor, Matrix x) = 0;
  virtual void do_clip(float limit, Matrix x) = 0;
  virtual void do_sum_over_ranks(Matrix x) = 0;
  virtual void do_sum_and_norm(Matrix partial, const Norm& norm, Matrix hidden, Matrix normed) = 0;
  virtual void do_gather_over_ranks(ConstMatrix mine, Matrix all) = 0;
  virtual void do_select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) = 0;
  virtual void do_choose(ConstMatrix logits, Range vocab, std::int64_t vocab_size,
                         DeviceSpan<const ChoiceTask> tasks, SlotStates& states, DeviceSpan<Choice> out) = 0;
};

}  // namespace sinkstream::kernels
