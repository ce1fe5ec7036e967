#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/between_ranks/exchange.h"
#include "kernels/cuda/between_ranks/nccl_library.h"

namespace sinkstream::kernels::cuda {
namespace {

// NCCL adds in an order of its own, so sums are gathered and added here. Up to this many bytes of a matrix
// every rank gets all of everyone's; beyond it each gets its share of everyone's, adds that, and the sums are
// gathered.
constexpr std::int64_t kGatherWhole = 128 << 10;

void check_nccl(ncclResult_t result, const char* what_for) {
  if (result == ncclSuccess) return;
  throw std::runtime_error(std::string("NCCL: ") + what_for + ": " + nccl().get_error_string(result));
}

class NcclExchange final : public Exchange {
 public:
  explicit NcclExchange(Communicator& group) : rank_(group.rank()), ranks_(group.size()) {
    ncclUniqueId id = {};
    if (group.is_leader()) check_nccl(nccl().get_unique_id(&id), "a group's name");
    std::vector<std::byte> message(sizeof(id));
    std::memcpy(message.data(), &id, sizeof(id));
    group.broadcast(message);
    std::memcpy(&id, message.data(), sizeof(id));
    check_nccl(nccl().comm_init_rank(&communicator_, ranks_, id, rank_), "joining the ranks");
  }
  // Not a destroy, which would wait for ranks that may be gone.
  ~NcclExchange() override { nccl().comm_abort(communicator_); }

  std::string description() const override {
    int version = 0;
    nccl().get_version(&version);
    return "NCCL " + std::to_string(version);
  }
  int ranks() const override { return ranks_; }
  bool is_queued() const override { return true; }

  void sum(const Device& device, Matrix x) override {
    // As much at a time as the workspace has room for from every rank.
    const std::int64_t elements = x.rows * x.cols;
    const std::int64_t most = std::max<std::int64_t>(
        ranks_, device.workspace_bytes / (std::int64_t{sizeof(float)} * (ranks_ + 1)) / ranks_ * ranks_);
    for (std::int64_t first = 0; first < elements; first += most) {
      const std::int64_t count = std::min(most, elements - first);
      const Address part = x.data + first * std::int64_t{sizeof(float)};
      if (count * std::int64_t{sizeof(float)} <= kGatherWhole) {
        sum_whole(device, part, count);
      } else {
        sum_by_shares(device, part, count);
      }
    }
  }

  void gather(const Device& device, ConstMatrix mine, Matrix all) override {
    all_gather(device, mine.data, all.data, mine.rows * mine.cols);
  }

  void check_peers() override {
    ncclResult_t failure = ncclSuccess;
    check_nccl(nccl().comm_get_async_error(communicator_, &failure), "asking how ranks are");
    check_nccl(failure, "between ranks");
  }

 private:
  void all_gather(const Device& device, Address mine, Address all, std::int64_t count) const {
    check_nccl(nccl().all_gather(device_pointer<const void>(mine), device_pointer<void>(all),
                                 static_cast<std::size_t>(count), ncclFloat, communicator_, device.stream),
               "gathering");
  }

  void sum_whole(const Device& device, Address x, std::int64_t count) const {
    all_gather(device, x, device.workspace, count);
    add_in_rank_order(device, Matrix{device.workspace, ranks_, count}, Matrix{x, 1, count});
  }

  void send(const Device& device, Address from, std::int64_t count, int peer) const {
    check_nccl(nccl().send(device_pointer<const void>(from), static_cast<std::size_t>(count), ncclFloat, peer,
                           communicator_, device.stream),
               "a sum");
  }
  void receive(const Device& device, Address to, std::int64_t count, int peer) const {
    check_nccl(nccl().receive(device_pointer<void>(to), static_cast<std::size_t>(count), ncclFloat, peer,
                              communicator_, device.stream),
               "a sum");
  }
  // What is called for each peer goes on at a time.
  template <typename Call>
  void with_each_peer(const Call& call) const {
    check_nccl(nccl().group_start(), "a sum");
    for (int peer = 0; peer < ranks_; ++peer) call(peer);
    check_nccl(nccl().group_end(), "a sum");
  }

  // Shares are equal but for the last ones, which may be shorter or empty.
  void sum_by_shares(const Device& device, Address x, std::int64_t count) const {
    const std::int64_t share = ceil_divide<std::int64_t>(count, ranks_);
    const auto begin_of = [&](int rank) { return std::min(rank * share, count); };
    const auto size_of_share = [&](int rank) { return begin_of(rank + 1) - begin_of(rank); };
    const auto at = [](Address base, std::int64_t element) {
      return base + element * std::int64_t{sizeof(float)};
    };
    const auto share_of = [&](int rank) { return at(x, begin_of(rank)); };
    const std::int64_t mine = size_of_share(rank_);
    with_each_peer([&](int peer) {
      send(device, share_of(peer), size_of_share(peer), peer);
      receive(device, at(device.workspace, peer * mine), mine, peer);
    });
    add_in_rank_order(device, Matrix{device.workspace, ranks_, mine}, Matrix{share_of(rank_), 1, mine});
    with_each_peer([&](int peer) {
      if (peer == rank_) return;
      send(device, share_of(rank_), mine, peer);
      receive(device, share_of(peer), size_of_share(peer), peer);
    });
  }

  int rank_;
  int ranks_;
  ncclComm_t communicator_ = nullptr;
};

}  // namespace

std::unique_ptr<Exchange> make_nccl_exchange(Communicator& group) {
  return std::make_unique<NcclExchange>(group);
}

}  // namespace sinkstream::kernels::cuda
