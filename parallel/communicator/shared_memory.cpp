#include "parallel/communicator/shared_memory.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "parallel/communicator/between_processes.h"
#include "parallel/communicator/rank_order_sum.h"
#include "parallel/host/backoff.h"
#include "parallel/shard_plan.h"

namespace sinkstream {
namespace {

using std::chrono::microseconds;

// What is longer goes in pieces. Two of them a rank fit a processor's nearer caches.
constexpr std::size_t kPieceBytes = 256 * 1024;
// From here on it costs less when each rank adds up a part of the sum.
constexpr std::size_t kSplitSumBytes = 32 * 1024;

// What a rank tells of itself. A turn is a piece of an operation. Each rank has two places for what it
// brings, used in turn: what is written next can't disturb those who still read.
struct alignas(64) RankHead {
  std::atomic<std::uint64_t> brought{0};  // the turns to which it has brought something
  std::atomic<std::uint64_t> summed{0};   // the newest turn in which it has added up its part
  struct Brought {
    Operation operation{};
    std::uint64_t bytes = 0;  // that are left of the operation, this turn's included
  };
  std::array<Brought, 2> what{};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class SharedMemoryCommunicator final : public Communicator {
 public:
  SharedMemoryCommunicator(Communicator& base, SharedRegion region)
      : base_(base),
        rank_(base.rank()),
        size_(base.size()),
        region_(std::move(region)),
        heads_(reinterpret_cast<RankHead*>(region_.bytes().data())),
        pieces_(region_.bytes().data() + static_cast<std::size_t>(size_) * sizeof(RankHead)) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(std::span<float> values) override {
    do {
      const auto piece = values.first(std::min(values.size(), kPieceBytes / sizeof(float)));
      bring(Operation::all_reduce_sum, std::as_bytes(piece), values.size_bytes());
      wait_for_all(values.size_bytes());
      if (piece.size_bytes() < kSplitSumBytes) {
        sum_in_rank_order(
            size_, [&](int r) { return floats_of(r); }, piece);
      } else {
        sum_in_parts(piece);
      }
      values = values.subspan(piece.size());
    } while (!values.empty());
  }

  void broadcast(std::vector<std::byte>& message) override {
    if (is_leader()) {
      std::span<const std::byte> left(message);
      do {
        const auto piece = left.first(std::min(left.size(), kPieceBytes));
        bring(Operation::broadcast, piece, left.size());
        left = left.subspan(piece.size());
      } while (!left.empty());
      return;
    }
    std::size_t taken = 0;
    do {
      bring(Operation::broadcast, {}, 0);
      wait_for(0, &RankHead::brought, taken == 0 ? kLongestSleepBetweenSteps : kLongestSleepInStep);
      const std::uint64_t left = brought_by(0).bytes;
      if (taken == 0) message.resize(left);
      const std::size_t piece = std::min<std::size_t>(left, kPieceBytes);
      std::copy_n(piece_of(0), piece, message.begin() + static_cast<std::ptrdiff_t>(taken));
      taken += piece;
    } while (taken < message.size());
  }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (all.size() != mine.size() * static_cast<std::size_t>(size_)) {
      throw std::invalid_argument("all_gather: the result must hold one block for each rank");
    }
    std::size_t taken = 0;
    do {
      const auto piece = mine.subspan(taken, std::min(mine.size() - taken, kPieceBytes));
      bring(Operation::all_gather, piece, mine.size() - taken);
      wait_for_all(mine.size() - taken);
      for (int r = 0; r < size_; ++r) {
        const auto block = all.subspan(mine.size() * static_cast<std::size_t>(r), mine.size());
        std::copy_n(piece_of(r), piece.size(), block.begin() + static_cast<std::ptrdiff_t>(taken));
      }
      taken += piece.size();
    } while (taken < mine.size());
  }

  void barrier() override {
    bring(Operation::barrier, {}, 0);
    wait_for_all(0);
  }

  void abort(const std::string& reason) override {
    base_.abort(reason);
    end_.end(reason);
  }

 private:
  std::byte* piece_of(int r) const {
    return pieces_ + (2 * static_cast<std::size_t>(r) + turn_ % 2) * kPieceBytes;
  }
  float* floats_of(int r) const { return reinterpret_cast<float*>(piece_of(r)); }
  const RankHead::Brought& brought_by(int r) const { return heads_[r].what[turn_ % 2]; }

  // `left` bytes of the operation, of which `piece` are the first.
  void bring(Operation operation, std::span<const std::byte> piece, std::size_t left) {
    end_.throw_if_ended();
    // Whoever has brought something to the turn before has read what stands in this place.
    for_each_other([&](int r) { wait_for(r, &RankHead::brought, kLongestSleepInStep); });
    ++turn_;
    heads_[rank_].what[turn_ % 2] = {operation, left};
    std::ranges::copy(piece, piece_of(rank_));
    heads_[rank_].brought.store(turn_, std::memory_order_release);
  }

  // Until all have brought as many bytes to the same operation.
  void wait_for_all(std::size_t left) {
    for_each_other([&](int r) {
      wait_for(r, &RankHead::brought, kLongestSleepInStep);
      if (brought_by(r).bytes == left) return;
      throw std::logic_error(name_of(brought_by(r).operation) + ": rank " + std::to_string(r) + " brought " +
                             std::to_string(brought_by(r).bytes) + " bytes where rank " +
                             std::to_string(rank_) + " brought " + std::to_string(left));
    });
  }

  // Each rank adds up a part of the sum, where its own values of it stood, and takes the others' parts.
  void sum_in_parts(std::span<float> values) {
    const auto part_of = [&](int r) {
      return split_evenly(static_cast<std::int64_t>(values.size()), size_, r);
    };
    const auto part_in = [&](std::span<float> whole, int r) {
      return whole.subspan(static_cast<std::size_t>(part_of(r).begin),
                           static_cast<std::size_t>(part_of(r).size()));
    };
    const std::span<float> mine = part_in(values, rank_);
    sum_in_rank_order(
        size_, [&](int r) { return floats_of(r) + part_of(rank_).begin; }, mine);
    std::ranges::copy(mine, floats_of(rank_) + part_of(rank_).begin);
    heads_[rank_].summed.store(turn_, std::memory_order_release);
    for_each_other([&](int r) {
      wait_for(r, &RankHead::summed, kLongestSleepInStep);
      const std::span<float> part = part_in(values, r);
      std::copy_n(floats_of(r) + part_of(r).begin, part.size(), part.begin());
    });
  }

  // Until a rank has come to this turn.
  void wait_for(int r, std::atomic<std::uint64_t> RankHead::*turn, microseconds longest_sleep) {
    Backoff backoff(longest_sleep);
    while ((heads_[r].*turn).load(std::memory_order_acquire) < turn_) {
      end_.throw_if_ended();
      backoff.pause();
    }
    check_same_operation(r);
  }

  // Of this turn, while nobody can have come further than to the next.
  void check_same_operation(int r) const {
    if (turn_ == 0 || brought_by(r).operation == brought_by(rank_).operation) return;
    throw std::logic_error("the ranks have drifted apart: rank " + std::to_string(r) + " is in " +
                           name_of(brought_by(r).operation) + ", rank " + std::to_string(rank_) + " in " +
                           name_of(brought_by(rank_).operation));
  }

  template <typename Action>
  void for_each_other(const Action& action) const {
    for_each_other_rank(*this, action);
  }

  Communicator& base_;
  const int rank_;
  const int size_;
  const SharedRegion region_;
  RankHead* const heads_;    // [ranks]
  std::byte* const pieces_;  // [ranks, 2, kPieceBytes]
  std::uint64_t turn_ = 0;

  GroupEnd end_;
};

}  // namespace

std::size_t shared_memory_bytes(int ranks) {
  return static_cast<std::size_t>(ranks) * (sizeof(RankHead) + 2 * kPieceBytes);
}

void prepare_shared_memory(std::span<std::byte> bytes, int ranks) {
  for (int r = 0; r < ranks; ++r)
    new (bytes.data() + sizeof(RankHead) * static_cast<std::size_t>(r)) RankHead;
}

std::unique_ptr<Communicator> make_shared_memory_communicator(Communicator& base, SharedRegion region) {
  if (region.bytes().size() != shared_memory_bytes(base.size())) {
    throw std::invalid_argument("shared memory for another number of ranks");
  }
  return std::make_unique<SharedMemoryCommunicator>(base, std::move(region));
}

}  // namespace sinkstream
