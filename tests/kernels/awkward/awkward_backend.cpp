#include "tests/kernels/awkward/awkward_backend.h"

#include <algorithm>
#include <stdexcept>

namespace sinkstream::kernels {
namespace {

constexpr std::byte kGarbage{0xa5};

// Late work holds on to the states that it uses.
class SharedStates final : public SlotStates {
 public:
  explicit SharedStates(std::unique_ptr<SlotStates> states) : states_(std::move(states)) {}
  const std::shared_ptr<SlotStates>& states() const { return states_; }

 private:
  std::shared_ptr<SlotStates> states_;
};

std::shared_ptr<SlotStates> shared(const SlotStates& states) {
  return dynamic_cast<const SharedStates&>(states).states();
}

}  // namespace

AwkwardBackend::AwkwardBackend(Communicator& group) : ranks_(group.size()), inner_(1, group) {}

Buffer AwkwardBackend::allocate(std::int64_t bytes, const std::string& purpose) {
  const Address address = arena_.allocate(bytes, purpose);
  const auto release = [this, address, bytes](void*) {
    late_.add([this, address, bytes] { arena_.release(address, bytes); });
  };
  return {address, bytes, std::shared_ptr<void>(nullptr, release)};
}

Buffer AwkwardBackend::allocate_in_host(std::int64_t bytes, const std::string& purpose) {
  before_host_memory();
  const auto memory = std::make_shared<Buffer>(allocate(bytes, purpose));
  upload(std::vector<std::byte>(static_cast<std::size_t>(bytes), kGarbage), memory->address());
  return {kept(memory->address()), bytes, memory};  // which this host may touch
}

void AwkwardBackend::upload(std::span<const std::byte> from, Address to) {
  std::vector<std::byte> bytes(from.begin(), from.end());
  late_.add([this, bytes = std::move(bytes), to = kept(to)] { inner_.upload(bytes, to); });
}

void AwkwardBackend::download(Address from, std::span<std::byte> to) {
  std::ranges::fill(to, kGarbage);
  const auto bytes = std::make_shared<std::vector<std::byte>>(to.size());
  downloads_.push_back({marks_.size() + 1, bytes, to});
  late_.add([this, bytes, from = kept(from)] { inner_.download(from, *bytes); });
}

void AwkwardBackend::discard(Address from, std::int64_t bytes) {
  late_.add([this, from = kept(from), bytes] { inner_.discard(from, bytes); });
}

std::uint64_t AwkwardBackend::mark() {
  marks_.push_back(late_.added());
  most_unwaited_ = std::max<std::uint64_t>(most_unwaited_, marks_.size() - waited_);
  return marks_.size();
}

void AwkwardBackend::wait(std::uint64_t mark) {
  if (mark < 1 || mark > marks_.size()) throw std::invalid_argument("wait: there is no such mark");
  waited_ = std::max(waited_, mark);
  late_.wait(marks_[mark - 1]);
  for (; !downloads_.empty() && downloads_.front().mark <= mark; downloads_.pop_front()) {
    std::ranges::copy(*downloads_.front().bytes, downloads_.front().to.begin());
  }
}

std::unique_ptr<SlotStates> AwkwardBackend::make_slot_states(std::int32_t num_slots,
                                                             std::int64_t vocab_size) {
  return std::make_unique<SharedStates>(inner_.make_slot_states(num_slots, vocab_size));
}

void AwkwardBackend::begin_turn(std::int32_t slot, const SamplingParams& sampling, SlotStates& states) {
  before_turn();
  late_.add([this, slot, sampling, states = shared(states)] { inner_.begin_turn(slot, sampling, *states); });
}

void AwkwardBackend::end_turn(std::int32_t slot, SlotStates& states) {
  late_.add([this, slot, states = shared(states)] { inner_.end_turn(slot, *states); });
}

ConstMatrix AwkwardBackend::kept(ConstMatrix matrix) const {
  return kept(Matrix{matrix.data, matrix.rows, matrix.cols});
}

// Without an owner: the memory is given back after the work that uses it.
Weight AwkwardBackend::kept(const Weight& weight) const {
  return {weight.shape, {kept(weight.memory.address()), weight.memory.bytes(), nullptr}};
}

Norm AwkwardBackend::kept(const Norm& norm) const {
  Norm here = norm;
  here.weight = kept(norm.weight);
  here.bias = kept(norm.bias);
  return here;
}

CacheLayerView AwkwardBackend::kept(const CacheLayerView& cache) const {
  CacheLayerView here = cache;
  for (Address* array : {&here.sink_keys, &here.sink_values, &here.ring_keys, &here.ring_values}) {
    *array = kept(*array);
  }
  return here;
}

RotaryAngles AwkwardBackend::kept(const RotaryAngles& angles) const {
  return {kept(angles.true_cosines), kept(angles.true_sines), kept(angles.cache_cosines),
          kept(angles.cache_sines)};
}

void AwkwardBackend::do_copy(Address from, Address to, const Pieces& pieces) {
  before_copy();
  late_.add([this, from = kept(from), to = kept(to), pieces] { inner_.copy(from, to, pieces); });
}

void AwkwardBackend::do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) {
  std::vector<std::byte> stored;
  const auto row_bytes = rows.cols * static_cast<std::int64_t>(size_of(rows.dtype));
  for (std::int64_t r = 0; r < rows.rows; ++r)
    stored.insert(stored.end(), rows.row(r), rows.row(r) + row_bytes);
  late_.add([this, stored = std::move(stored), rows, row_bytes, first_row, weight = kept(weight)] {
    inner_.pack({stored.data(), rows.dtype, rows.rows, rows.cols, row_bytes}, first_row, weight);
  });
}

void AwkwardBackend::do_take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                                         DeviceSpan<std::int32_t> tokens) {
  late_.add([this, slots = kept(slots), states = shared(states), tokens = kept(tokens)] {
    inner_.take_last_chosen(slots, *states, tokens);
  });
}

void AwkwardBackend::do_embed(DeviceSpan<const std::int32_t> tokens, const Weight& table,
                              std::int64_t first_token, Matrix out) {
  late_.add([this, tokens = kept(tokens), table = kept(table), first_token, out = kept(out)] {
    inner_.embed(tokens, table, first_token, out);
  });
}

void AwkwardBackend::do_norm(ConstMatrix x, const Norm& norm, Matrix out) {
  late_.add([this, x = kept(x), norm = kept(norm), out = kept(out)] { inner_.norm(x, norm, out); });
}

void AwkwardBackend::do_row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                                    Matrix moments) {
  late_.add([this, x = kept(x), first_column, columns, moments = kept(moments)] {
    inner_.row_moments(x, first_column, columns, moments);
  });
}

void AwkwardBackend::do_combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts,
                                        float epsilon, Matrix statistics) {
  late_.add([this, moments = kept(moments), counts = kept(counts), epsilon, statistics = kept(statistics)] {
    inner_.combine_moments(moments, counts, epsilon, statistics);
  });
}

void AwkwardBackend::do_normalize_columns(ConstMatrix statistics, Vector weight, Vector bias,
                                          std::int64_t first_column, Matrix x) {
  late_.add([this, statistics = kept(statistics), weight = kept(weight), bias = kept(bias), first_column,
             x = kept(x)] { inner_.normalize_columns(statistics, weight, bias, first_column, x); });
}

void AwkwardBackend::do_matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out) {
  late_.add([this, x = kept(x), weight = kept(weight), bias = kept(bias), out = kept(out)] {
    inner_.matmul(x, weight, bias, out);
  });
}

void AwkwardBackend::do_rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                                      Matrix cosines, Matrix sines) {
  late_.add([this, positions = kept(positions), inverse_frequencies = kept(inverse_frequencies),
             cosines = kept(cosines),
             sines = kept(sines)] { inner_.rotary_angles(positions, inverse_frequencies, cosines, sines); });
}

void AwkwardBackend::do_rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles,
                                         DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                                         const CacheLayerView& cache, Matrix window_queries,
                                         Matrix sink_queries) {
  late_.add([this, qkv = kept(qkv), angles = kept(angles), rows = kept(rows), shard, cache = kept(cache),
             window_queries = kept(window_queries), sink_queries = kept(sink_queries)] {
    inner_.rotate_and_store(qkv, angles, rows, shard, cache, window_queries, sink_queries);
  });
}

void AwkwardBackend::do_attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
                                  ConstMatrix sink_queries, const CacheLayerView& cache,
                                  const HeadShard& shard, float scale, Vector alibi_slopes, Matrix out) {
  late_.add([this, rows = kept(rows), window_queries = kept(window_queries),
             sink_queries = kept(sink_queries), cache = kept(cache), shard, scale,
             alibi_slopes = kept(alibi_slopes), out = kept(out)] {
    inner_.attention(rows, window_queries, sink_queries, cache, shard, scale, alibi_slopes, out);
  });
}

void AwkwardBackend::do_silu_multiply(ConstMatrix gate_up, Matrix out) {
  late_.add([this, gate_up = kept(gate_up), out = kept(out)] { inner_.silu_multiply(gate_up, out); });
}

void AwkwardBackend::do_gelu(ConstMatrix x, Matrix out) {
  late_.add([this, x = kept(x), out = kept(out)] { inner_.gelu(x, out); });
}

void AwkwardBackend::do_gelu_tanh(ConstMatrix x, Matrix out) {
  late_.add([this, x = kept(x), out = kept(out)] { inner_.gelu_tanh(x, out); });
}

void AwkwardBackend::do_add(ConstMatrix y, Matrix x) {
  late_.add([this, y = kept(y), x = kept(x)] { inner_.add(y, x); });
}

void AwkwardBackend::do_scale(float factor, Matrix x) {
  late_.add([this, factor, x = kept(x)] { inner_.scale(factor, x); });
}

void AwkwardBackend::do_clip(float limit, Matrix x) {
  late_.add([this, limit, x = kept(x)] { inner_.clip(limit, x); });
}

void AwkwardBackend::do_sum_over_ranks(Matrix x) {
  late_.add([this, x = kept(x)] { inner_.sum_over_ranks(x); });
}

void AwkwardBackend::do_sum_and_norm(Matrix partial, const Norm& norm, Matrix hidden, Matrix normed) {
  late_.add([this, partial = kept(partial), norm = kept(norm), hidden = kept(hidden), normed = kept(normed)] {
    inner_.sum_and_norm(partial, norm, hidden, normed);
  });
}

void AwkwardBackend::do_gather_over_ranks(ConstMatrix mine, Matrix all) {
  late_.add([this, mine = kept(mine), all = kept(all)] { inner_.gather_over_ranks(mine, all); });
}

void AwkwardBackend::do_select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) {
  late_.add([this, x = kept(x), selected = kept(selected), out = kept(out)] {
    inner_.select_rows(x, selected, out);
  });
}

void AwkwardBackend::do_choose(ConstMatrix logits, Range vocab, std::int64_t vocab_size,
                               DeviceSpan<const ChoiceTask> tasks, SlotStates& states,
                               DeviceSpan<Choice> out) {
  late_.add([this, logits = kept(logits), vocab, vocab_size, tasks = kept(tasks), states = shared(states),
             out = kept(out)] { inner_.choose(logits, vocab, vocab_size, tasks, *states, out); });
}

}  // namespace sinkstream::kernels
