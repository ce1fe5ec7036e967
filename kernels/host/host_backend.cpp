#include "kernels/host/host_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "kernels/host/choose.h"
#include "kernels/host/host_memory.h"
#include "kernels/host/packed_weight.h"
#include "kernels/host/slot_states.h"
#include "kernels/moments.h"

namespace sinkstream::kernels {
namespace {

std::span<float> values_of(Matrix matrix) {
  return {host_pointer<float>(matrix.data), static_cast<std::size_t>(matrix.rows * matrix.cols)};
}

std::span<const float> values_of(ConstMatrix matrix) {
  return {host_pointer<const float>(matrix.data), static_cast<std::size_t>(matrix.rows * matrix.cols)};
}

}  // namespace

Buffer HostBackend::allocate(std::int64_t bytes, const std::string& purpose) {
  return map_memory(bytes, purpose);
}

Buffer HostBackend::allocate_for_weight(std::int64_t bytes) {
  return map_huge_pages(bytes, "the weights");
}

std::int64_t HostBackend::packed_bytes(const WeightShape& shape) const {
  return host_packed_bytes(shape);
}

void HostBackend::upload(std::span<const std::byte> from, Address to) {
  std::ranges::copy(from, host_pointer<std::byte>(to));
}

void HostBackend::download(Address from, std::span<std::byte> to) {
  std::copy_n(host_pointer<const std::byte>(from), to.size(), to.begin());
}

void HostBackend::discard(Address from, std::int64_t bytes) {
  discard_memory({host_pointer<std::byte>(from), static_cast<std::size_t>(bytes)});
}

void HostBackend::wait(std::uint64_t mark) {
  if (mark < 1 || mark > marks_) throw std::invalid_argument("wait: there is no such mark");
}

std::unique_ptr<SlotStates> HostBackend::make_slot_states(std::int32_t num_slots,
                                                          std::int64_t /*vocab_size*/) {
  return std::make_unique<HostSlotStates>(num_slots);
}

void HostBackend::begin_turn(std::int32_t slot, const SamplingParams& sampling, SlotStates& states) {
  host_states(states).slot(slot) = HostSlotState(sampling);
}

void HostBackend::end_turn(std::int32_t slot, SlotStates& states) {
  host_states(states).slot(slot) = {};
}

void HostBackend::do_copy(Address from, Address to, const Pieces& pieces) {
  for (std::int64_t i = 0; i < pieces.count; ++i) {
    const std::int64_t offset = i * pieces.stride;
    std::copy_n(host_pointer<const std::byte>(from + offset), pieces.bytes,
                host_pointer<std::byte>(to + offset));
  }
}

void HostBackend::do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) {
  const PackedWeight packed(weight);
  std::vector<float> values(static_cast<std::size_t>(rows.cols));
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    rows.read(r, values);
    packed.pack_row(first_row + r, values);
  }
}

void HostBackend::do_take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                                      DeviceSpan<std::int32_t> tokens) {
  const auto slot_of_row = host_span(slots);
  const auto token_of_row = host_span(tokens);
  for (std::size_t r = 0; r < token_of_row.size(); ++r) {
    if (token_of_row[r] == kLastChosen)
      token_of_row[r] = host_states(states).slot(slot_of_row[r]).last_chosen;
  }
}

void HostBackend::do_combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts,
                                     float epsilon, Matrix statistics) {
  const ConstHostMatrix measured = host_matrix(moments);
  const auto count_of_rank = host_span(counts);
  for (std::int64_t row = 0; row < statistics.rows; ++row) {
    CombinedMoments all;
    for (std::int64_t rank = 0; rank < counts.size; ++rank) {
      const auto of_rank = measured.row(rank * statistics.rows + row);
      all.add(count_of_rank[rank], of_rank[0], of_rank[1]);
    }
    const auto combined = host_matrix(statistics).row(row);
    combined[0] = static_cast<float>(all.mean);
    combined[1] = static_cast<float>(1.0 / std::sqrt(all.squares / all.count + static_cast<double>(epsilon)));
  }
}

void HostBackend::do_sum_over_ranks(Matrix x) {
  group_.all_reduce_sum(values_of(x));
}

void HostBackend::do_sum_and_norm(Matrix partial, const Norm& norm_weights, Matrix hidden, Matrix normed) {
  sum_over_ranks(partial);
  add(partial, hidden);
  norm(hidden, norm_weights, normed);
}

void HostBackend::do_gather_over_ranks(ConstMatrix mine, Matrix all) {
  group_.all_gather(std::as_bytes(values_of(mine)), std::as_writable_bytes(values_of(all)));
}

void HostBackend::do_select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) {
  const auto rows = host_span(selected);
  for (std::int64_t i = 0; i < out.rows; ++i) {
    std::ranges::copy(host_matrix(x).row(rows[i]), host_matrix(out).row(i).begin());
  }
}

void HostBackend::do_choose(ConstMatrix logits, Range vocab, std::int64_t vocab_size,
                            DeviceSpan<const ChoiceTask> tasks, SlotStates& states, DeviceSpan<Choice> out) {
  choose_tokens(group_, logits_scan(), host_matrix(logits), vocab, vocab_size, host_span(tasks),
                host_states(states), host_span(out));
}

}  // namespace sinkstream::kernels
