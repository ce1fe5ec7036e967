#include "parallel/communicator/mpi_communicator.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "base/durations.h"
#include "parallel/communicator/in_process.h"
#include "parallel/communicator/mpi_exchange.h"
#include "parallel/communicator/rank_order_sum.h"
#include "parallel/host/deadline.h"
#include "parallel/host/own_addresses.h"
#include "parallel/host/roll_call.h"
#include "parallel/host/single_copy.h"
#include "parallel/shard_plan.h"

namespace sinkstream {
namespace {

// From here on it costs less when every rank adds up one part of the sum and the parts are gathered.
constexpr std::size_t kSplitSumBytes = 32 * 1024;

// A broadcast's first message carries the length and as much as fits; most step plans need no second one.
constexpr std::size_t kFirstMessageBytes = 3072;
using MessageLength = std::uint64_t;
constexpr std::size_t kFirstPartBytes = kFirstMessageBytes - sizeof(MessageLength);

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(MPI_Comm comm) : exchange_(comm) {
    check_mpi(MPI_Comm_rank(comm, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(comm, &size_), "MPI_Comm_size");
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(std::span<float> values) override {
    exchange_.begin(Operation::all_reduce_sum);
    if (size_ == 1) return;
    if (size_ == 2 || values.size_bytes() < kSplitSumBytes) {
      sum_whole(values);
    } else {
      sum_in_parts(values);
    }
  }

  void broadcast(std::vector<std::byte>& message) override {
    exchange_.begin(Operation::broadcast);
    if (size_ == 1) return;
    if (is_leader()) {
      send_to_all(message);
    } else {
      receive_from_leader(message);
    }
  }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (all.size() != mine.size() * static_cast<std::size_t>(size_)) {
      throw std::invalid_argument("all_gather: the result must hold one block for each rank");
    }
    exchange_.begin(Operation::all_gather);
    const auto block_of = [&](int r) {
      return all.subspan(mine.size() * static_cast<std::size_t>(r), mine.size());
    };
    for_each_other([&](int r) { exchange_.receive(r, block_of(r)); });
    for_each_other([&](int r) { exchange_.send(r, mine); });
    std::ranges::copy(mine, block_of(rank_).begin());
    exchange_.wait(kLongestSleepInStep);
  }

  void barrier() override {
    exchange_.begin(Operation::barrier);
    for_each_other([&](int r) { exchange_.receive(r, {}); });
    for_each_other([&](int r) { exchange_.send(r, {}); });
    exchange_.wait(kLongestSleepInStep);
  }

  void abort(const std::string& reason) override { exchange_.end(reason); }

  bool whole() const { return exchange_.whole(); }

 private:
  template <typename Action>
  void for_each_other(const Action& action) const {
    for_each_other_rank(*this, action);
  }

  // Makes room for one block of `length` floats from each rank.
  void resize_scratch(std::size_t length) {
    block_length_ = length;
    scratch_.resize(std::max(scratch_.size(), length * static_cast<std::size_t>(size_)));
  }

  std::span<float> scratch_of(int r) {
    return std::span(scratch_).subspan(block_length_ * static_cast<std::size_t>(r), block_length_);
  }

  // Everyone gets everyone's values and adds them up.
  void sum_whole(std::span<float> values) {
    resize_scratch(values.size());
    for_each_other([&](int r) { exchange_.receive(r, std::as_writable_bytes(scratch_of(r))); });
    for_each_other([&](int r) { exchange_.send(r, std::as_bytes(values)); });
    std::ranges::copy(values, scratch_of(rank_).begin());
    exchange_.wait(kLongestSleepInStep);
    sum_in_rank_order(
        size_, [&](int r) { return scratch_of(r).data(); }, values);
  }

  // Each rank gets everyone's values of its own part, adds them up, and sends everyone the result.
  void sum_in_parts(std::span<float> values) {
    const auto part_of = [&](int r) {
      const Range part = split_evenly(static_cast<std::int64_t>(values.size()), size_, r);
      return values.subspan(static_cast<std::size_t>(part.begin), static_cast<std::size_t>(part.size()));
    };
    const std::span<float> mine = part_of(rank_);
    resize_scratch(mine.size());
    for_each_other([&](int r) { exchange_.receive(r, std::as_writable_bytes(scratch_of(r))); });
    for_each_other([&](int r) { exchange_.send(r, std::as_bytes(part_of(r))); });
    std::ranges::copy(mine, scratch_of(rank_).begin());
    exchange_.wait(kLongestSleepInStep);
    sum_in_rank_order(
        size_, [&](int r) { return scratch_of(r).data(); }, mine);

    for_each_other([&](int r) { exchange_.receive(r, std::as_writable_bytes(part_of(r))); });
    for_each_other([&](int r) { exchange_.send(r, std::as_bytes(mine)); });
    exchange_.wait(kLongestSleepInStep);
  }

  void send_to_all(std::span<const std::byte> message) {
    const MessageLength length = message.size();
    const auto first_part = message.first(std::min(message.size(), kFirstPartBytes));
    std::memcpy(first_message_.data(), &length, sizeof(length));
    std::ranges::copy(first_part, first_message_.begin() + sizeof(length));

    const std::size_t first_bytes = sizeof(length) + first_part.size();
    for_each_other([&](int r) { exchange_.send(r, std::span(first_message_).first(first_bytes)); });
    if (const auto rest = message.subspan(first_part.size()); !rest.empty()) {
      for_each_other([&](int r) { exchange_.send(r, rest); });
    }
    exchange_.wait(kLongestSleepInStep);
  }

  void receive_from_leader(std::vector<std::byte>& message) {
    std::size_t received = 0;
    exchange_.receive_up_to(0, first_message_, &received);
    exchange_.wait(kLongestSleepBetweenSteps);

    MessageLength length = 0;
    std::memcpy(&length, first_message_.data(), sizeof(length));
    const std::size_t first_bytes = std::min<std::size_t>(length, kFirstPartBytes);
    if (received != sizeof(length) + first_bytes) {
      throw std::logic_error("broadcast: the leader's message of " + std::to_string(length) +
                             " bytes began with " + std::to_string(received));
    }
    message.resize(length);
    std::copy_n(first_message_.begin() + sizeof(length), first_bytes, message.begin());
    if (const auto rest = std::span(message).subspan(first_bytes); !rest.empty()) {
      exchange_.receive(0, rest);
      exchange_.wait(kLongestSleepInStep);
    }
  }

  MpiExchange exchange_;
  int rank_ = 0;
  int size_ = 1;
  std::size_t block_length_ = 0;
  std::vector<float> scratch_;  // [size_ * block_length_], kept between calls
  std::array<std::byte, kFirstMessageBytes> first_message_{};
};

constexpr std::chrono::milliseconds kEndLimit{10000};

void start_mpi(std::chrono::milliseconds limit) {
  const LaunchedAs launched = launched_as();
  avoid_refused_copies();
  reach_own_addresses(launched);
  const RollCall roll(launched);
  const Deadline deadline(limit, [&] { return roll.complaint(in_seconds(limit)); });
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED)
    throw std::runtime_error("this MPI does not allow threads beside its own");
}

// Collective. Errors are returned instead of ending the process.
MPI_Comm duplicate_world() {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return comm;
}

}  // namespace

struct MpiSession::State {
  std::unique_ptr<Communicator> alone;  // where there is no launcher
  MPI_Comm comm = MPI_COMM_NULL;
  std::unique_ptr<MpiCommunicator> launched;
  int exceptions_in_flight = std::uncaught_exceptions();
};

MpiSession::MpiSession(std::chrono::milliseconds start_limit) : state_(std::make_unique<State>()) {
  if (!started_by_mpi_launcher()) {
    state_->alone = std::move(make_in_process_group(1).front());
    return;
  }
  start_mpi(start_limit);
  state_->comm = duplicate_world();
  state_->launched = std::make_unique<MpiCommunicator>(state_->comm);
}

// MPI_Finalize waits for all ranks, so a group that is not whole is left to the launcher, which ends the
// others.
MpiSession::~MpiSession() {
  if (!state_->launched || !state_->launched->whole()) return;
  if (std::uncaught_exceptions() > state_->exceptions_in_flight) return;
  const Deadline deadline(kEndLimit, [&] {
    return "rank " + std::to_string(state_->launched->rank()) + " waited " + in_seconds(kEndLimit) +
           " for the other ranks to end";
  });
  MPI_Comm_free(&state_->comm);
  MPI_Finalize();
}

Communicator& MpiSession::communicator() {
  return state_->launched ? static_cast<Communicator&>(*state_->launched) : *state_->alone;
}

std::string MpiSession::library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length), "MPI_Get_library_version");
  const std::string version(text.data(), static_cast<std::size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));
}

bool started_by_mpi_launcher() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr ||
         std::getenv("PMI_RANK") != nullptr;
}

}  // namespace sinkstream
