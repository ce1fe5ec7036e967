// What backends share that compute in this host's memory: an address is a pointer, an operation is done when
// it is called, collectives go over the group's communicator.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/backend.h"
#include "kernels/host/logits_scan.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels {

// The element at an address of a host backend.
template <typename T>
T* host_pointer(Address address) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}
template <typename T>
std::span<T> host_span(DeviceSpan<T> span) {
  return {host_pointer<T>(span.data), static_cast<std::size_t>(span.size)};
}
inline HostMatrix host_matrix(Matrix matrix) {
  return {host_pointer<float>(matrix.data), matrix.rows, matrix.cols};
}
inline ConstHostMatrix host_matrix(ConstMatrix matrix) {
  return {host_pointer<const float>(matrix.data), matrix.rows, matrix.cols};
}

class HostBackend : public Backend {
 public:
  explicit HostBackend(Communicator& group) : group_(group) {}

  int steps_in_flight() const override { return 1; }
  Buffer allocate(std::int64_t bytes, const std::string& purpose) override;
  Buffer allocate_in_host(std::int64_t bytes, const std::string& purpose) override {
    return allocate(bytes, purpose);
  }
  void upload(std::span<const std::byte> from, Address to) override;
  void download(Address from, std::span<std::byte> to) override;
  void discard(Address from, std::int64_t bytes) override;
  std::uint64_t mark() override { return ++marks_; }
  void wait(std::uint64_t mark) override;  // all is done, but the mark must be one
  std::int64_t packed_bytes(const WeightShape& shape) const override;
  std::unique_ptr<SlotStates> make_slot_states(std::int32_t num_slots, std::int64_t vocab_size) override;
  void begin_turn(std::int32_t slot, const SamplingParams& sampling, SlotStates& states) override;
  void end_turn(std::int32_t slot, SlotStates& states) override;

 protected:
  int ranks() const override { return group_.size(); }

 private:
  virtual LogitsScan& logits_scan() = 0;
  Buffer allocate_for_weight(std::int64_t bytes) override;
  void do_copy(Address from, Address to, const Pieces& pieces) override;
  void do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) override;
  void do_take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                           DeviceSpan<std::int32_t> tokens) override;
  void do_combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts, float epsilon,
                          Matrix statistics) override;
  void do_sum_over_ranks(Matrix x) override;
  void do_sum_and_norm(Matrix partial, const Norm& norm, Matrix hidden, Matrix normed) override;
  void do_gather_over_ranks(ConstMatrix mine, Matrix all) override;
  void do_select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) override;
  void do_choose(ConstMatrix logits, Range vocab, std::int64_t vocab_size, DeviceSpan<const ChoiceTask> tasks,
                 SlotStates& states, DeviceSpan<Choice> out) override;

  Communicator& group_;
  std::uint64_t marks_ = 0;
};

}  // namespace sinkstream::kernels
