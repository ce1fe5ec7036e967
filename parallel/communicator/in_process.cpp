#include "parallel/communicator/in_process.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "parallel/communicator/between_processes.h"
#include "parallel/communicator/rank_order_sum.h"

namespace sinkstream {
namespace {

// What one rank brings to one operation.
struct Contribution {
  Operation operation = Operation::barrier;
  std::vector<std::byte> bytes;
};

// Owned by all ranks together. An operation copies its input in here, meets the others, and reads theirs.
// There are two sets of contributions, used in turn: a rank that writes the next operation's set cannot
// disturb one that still reads this operation's, and it cannot come round to the same set before everyone has
// met again.
class SharedGroup {
 public:
  explicit SharedGroup(int size) : size_(size) {
    for (auto& set : contributions_) set.resize(static_cast<std::size_t>(size));
  }

  int size() const { return size_; }

  Contribution& contribution(int rank, std::uint64_t turn) {
    return contributions_[turn % 2][static_cast<std::size_t>(rank)];
  }

  // Returns when every rank has come here; throws GroupEnded when that will not happen.
  void meet() {
    std::unique_lock lock(mutex_);
    throw_if_ended();
    const std::uint64_t meeting = meetings_;
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++meetings_;
      changed_.notify_all();
      return;
    }
    changed_.wait(lock, [&] { return meetings_ != meeting || !end_reason_.empty(); });
    if (meetings_ == meeting) throw_if_ended();
  }

  void throw_if_group_ended() {
    const std::lock_guard lock(mutex_);
    throw_if_ended();
  }

  void end(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (end_reason_.empty()) end_reason_ = reason.empty() ? "the group was ended" : reason;
    changed_.notify_all();
  }

 private:
  void throw_if_ended() const {
    if (!end_reason_.empty()) throw GroupEnded(end_reason_);
  }

  const int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  std::uint64_t meetings_ = 0;
  std::string end_reason_;  // empty while the group lives
  std::array<std::vector<Contribution>, 2> contributions_;
};

class InProcessCommunicator final : public Communicator {
 public:
  InProcessCommunicator(std::shared_ptr<SharedGroup> group, int rank)
      : group_(std::move(group)), rank_(rank) {}

  // A rank that leaves early would leave the others waiting.
  ~InProcessCommunicator() override { group_->end("rank " + std::to_string(rank_) + " has left the group"); }

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }

  void all_reduce_sum(std::span<float> values) override {
    exchange(Operation::all_reduce_sum, std::as_bytes(values));
    require_equal_lengths(values.size_bytes());
    sum_in_rank_order(
        size(), [&](int r) { return reinterpret_cast<const float*>(theirs(r).bytes.data()); }, values);
  }

  void broadcast(std::vector<std::byte>& message) override {
    exchange(Operation::broadcast,
             is_leader() ? std::span<const std::byte>(message) : std::span<const std::byte>());
    if (!is_leader()) message = theirs(0).bytes;
  }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (all.size() != mine.size() * static_cast<std::size_t>(size())) {
      throw std::invalid_argument("all_gather: the result must hold one block for each rank");
    }
    exchange(Operation::all_gather, mine);
    require_equal_lengths(mine.size());
    for (int r = 0; r < size(); ++r) {
      std::ranges::copy(theirs(r).bytes, all.begin() + static_cast<std::ptrdiff_t>(mine.size()) * r);
    }
  }

  void barrier() override { exchange(Operation::barrier, {}); }

  void abort(const std::string& reason) override { group_->end(reason); }

 private:
  const Contribution& theirs(int r) const { return group_->contribution(r, turn_); }

  void exchange(Operation operation, std::span<const std::byte> mine) {
    group_->throw_if_group_ended();
    Contribution& contribution = group_->contribution(rank_, ++turn_);
    contribution.operation = operation;
    contribution.bytes.assign(mine.begin(), mine.end());
    group_->meet();
    for (int r = 0; r < size(); ++r) {
      if (theirs(r).operation != operation) {
        throw std::logic_error("rank " + std::to_string(r) + " and rank " + std::to_string(rank_) +
                               " are in different operations");
      }
    }
  }

  void require_equal_lengths(std::size_t length) const {
    for (int r = 0; r < size(); ++r) {
      if (theirs(r).bytes.size() != length) {
        throw std::logic_error("rank " + std::to_string(r) + " brought " +
                               std::to_string(theirs(r).bytes.size()) + " bytes where rank " +
                               std::to_string(rank_) + " brought " + std::to_string(length));
      }
    }
  }

  const std::shared_ptr<SharedGroup> group_;
  const int rank_;
  std::uint64_t turn_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_in_process_group(int size) {
  if (size < 1) throw std::invalid_argument("a group has at least one rank, not " + std::to_string(size));
  auto group = std::make_shared<SharedGroup>(size);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < size; ++r) ranks.push_back(std::make_unique<InProcessCommunicator>(group, r));
  return ranks;
}

}  // namespace sinkstream
