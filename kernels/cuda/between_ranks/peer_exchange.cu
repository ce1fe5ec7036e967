#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/between_ranks/peer_exchange.h"
#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/queue/pinned_memory.h"
#include "parallel/start/together.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kMostRanks = 16;
constexpr int kThreads = 256;
constexpr int kVector = 4;  // elements that a thread sums
constexpr int kBlockElements = kThreads * kVector;
constexpr std::int64_t kBlockBytes = kBlockElements * std::int64_t{sizeof(float)};
constexpr std::int64_t kMostBlocks =
    128;  // have room at once on any GPU that we know, beside other ranks' too
constexpr int kBuffers = 2;
constexpr std::uint64_t kLeft = ~std::uint64_t{0};
constexpr unsigned kTriesBetweenLooks = 256;  // a look at the host's memory takes longer than a sum

// Each rank's memory: slots [kBuffers][ranks][blocks * kBlockElements], flags [ranks][blocks], epochs
// [blocks].
struct Layout {
  int ranks = 0;
  int blocks = 0;  // of the largest sum

  __host__ __device__ std::int64_t slot_elements() const { return std::int64_t{blocks} * kBlockElements; }
  __host__ __device__ std::int64_t slot(int buffer, int from) const {  // in elements
    return (std::int64_t{buffer} * ranks + from) * slot_elements();
  }
  __host__ __device__ std::int64_t flags() const {  // in bytes
    return kBuffers * ranks * slot_elements() * std::int64_t{sizeof(float)};
  }
  __host__ __device__ std::int64_t flag(int from, int block) const {
    return std::int64_t{from} * blocks + block;
  }
  __host__ __device__ std::int64_t epoch(int block) const { return flag(ranks, block); }
  std::int64_t bytes() const { return flags() + epoch(blocks) * std::int64_t{sizeof(std::uint64_t)}; }
};

// Words in this host's memory by which kernel and host talk.
struct HostWords {
  std::uint64_t abort;                // by the host: leave
  std::uint64_t missing[kMostRanks];  // by the kernel: 1 for ranks that did not come in time
};

struct Peers {
  Layout layout;
  int rank;
  std::uint64_t patience;  // nanoseconds
  HostWords* host;
  std::byte* memory[kMostRanks];  // of each rank

  __device__ float* slot(int of, int buffer, int from) const {
    return reinterpret_cast<float*>(memory[of]) + layout.slot(buffer, from);
  }
  __device__ std::uint64_t* word(int of, std::int64_t at) const {
    return reinterpret_cast<std::uint64_t*>(memory[of] + layout.flags()) + at;
  }
};

// False if it does not come to that.
__device__ bool wait_for(const std::uint64_t* flag, std::uint64_t epoch, const Peers& peers, int from) {
  std::uint64_t begin = 0;
  for (unsigned tries = 1; load_acquire_system(flag) < epoch; ++tries) {
    pause_for_peers();
    if (tries % kTriesBetweenLooks != 0) continue;
    if (load_acquire_system(&peers.host->abort) != 0) return false;
    const std::uint64_t now = nanoseconds_now();
    if (begin == 0) begin = now;
    if (now - begin > peers.patience) {
      store_release_system(&peers.host->missing[from], 1);
      return false;
    }
  }
  return true;
}

// Elements of x at `first`, as many as there are, the rest zero.
__device__ float4 load_some(const float* x, std::int64_t first, std::int64_t elements, bool whole) {
  if (whole) return *reinterpret_cast<const float4*>(x + first);
  float4 some = make_float4(0, 0, 0, 0);
  if (first < elements) some.x = x[first];
  if (first + 1 < elements) some.y = x[first + 1];
  if (first + 2 < elements) some.z = x[first + 2];
  if (first + 3 < elements) some.w = x[first + 3];
  return some;
}

__device__ void store_some(float4 some, std::int64_t first, std::int64_t elements, bool whole, float* x) {
  if (whole) {
    *reinterpret_cast<float4*>(x + first) = some;
    return;
  }
  if (first < elements) x[first] = some.x;
  if (first + 1 < elements) x[first + 1] = some.y;
  if (first + 2 < elements) x[first + 2] = some.z;
  if (first + 3 < elements) x[first + 3] = some.w;
}

// x = the sum over ranks. A block has a piece of the elements and needs no other block: its n-th sum is its
// epoch n, on all ranks alike, since all call the same sums in the same order. It writes its piece to slot n
// % 2 at each peer, then n to its flag there, waits until its own flags are at n, and adds.
//
// Two buffers are enough, and a flag that has gone past n still stands for n: a block that writes its epoch n
// + 2 has ended n + 1, so it saw the flags n + 1 of all peers, who wrote them in a kernel that began when
// theirs of n had ended. So all of slot n % 2 has been read by then, and nobody is more than one epoch ahead
// of one who waits.
//
// A block that left early never writes again, since this holds no longer: its epoch is kLeft.
template <int kRoom>  // for ranks
__global__ void __launch_bounds__(kThreads)
    sum_over_peers_kernel(const __grid_constant__ Peers peers, std::int64_t elements, float* x) {
  begin_after_previous();
  const int ranks = peers.layout.ranks;
  const int block = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t first = (std::int64_t{block} * kThreads + thread) * kVector;
  const bool whole = first + kVector <= elements && reinterpret_cast<std::uintptr_t>(x) % sizeof(float4) == 0;

  std::uint64_t* const last_epoch = peers.word(peers.rank, peers.layout.epoch(block));
  const std::uint64_t last = *last_epoch;
  const float4 mine = load_some(x, first, elements, whole);
  if (last == kLeft) return;
  const std::uint64_t epoch = last + 1;
  const int buffer = static_cast<int>(epoch % kBuffers);

#pragma unroll
  for (int peer = 0; peer < kRoom; ++peer) {
    if (peer >= ranks || peer == peers.rank) continue;
    *reinterpret_cast<float4*>(peers.slot(peer, buffer, peers.rank) + first) = mine;
  }
  __syncthreads();
  const bool has_peer = thread < ranks && thread != peers.rank;
  if (has_peer) store_release_system(peers.word(thread, peers.layout.flag(peers.rank, block)), epoch);
  __syncwarp();  // all peers are told before any thread waits
  const bool came =
      !has_peer || wait_for(peers.word(peers.rank, peers.layout.flag(thread, block)), epoch, peers, thread);
  if (__syncthreads_or(came ? 0 : 1) != 0) {
    if (thread == 0) *last_epoch = kLeft;
    return;
  }

  float4 parts[kRoom];
#pragma unroll
  for (int rank = 0; rank < kRoom; ++rank) {  // all are asked for before the first is needed
    if (rank >= ranks) continue;
    parts[rank] = rank == peers.rank
                      ? mine
                      : *reinterpret_cast<const float4*>(peers.slot(peers.rank, buffer, rank) + first);
  }
  float4 sum = parts[0];
#pragma unroll
  for (int rank = 1; rank < kRoom; ++rank) {
    if (rank >= ranks) continue;
    sum.x += parts[rank].x;
    sum.y += parts[rank].y;
    sum.z += parts[rank].z;
    sum.w += parts[rank].w;
  }
  store_some(sum, first, elements, whole, x);
  if (thread == 0) *last_epoch = epoch;
}

class PeerSums {
 public:
  PeerSums(std::unique_ptr<PeerMemory> memory, const Layout& layout, int rank)
      : memory_(std::move(memory)), words_(sizeof(HostWords)) {
    std::memset(words_.bytes().data(), 0, words_.bytes().size());
    peers_.layout = layout;
    peers_.rank = rank;
    peers_.host = reinterpret_cast<HostWords*>(words_.bytes().data());
    for (int peer = 0; peer < layout.ranks; ++peer) peers_.memory[peer] = memory_->of_rank(peer);
  }

  // Of sums from now on.
  void set_patience(std::chrono::milliseconds patience) {
    patience_ = patience;
    peers_.patience = static_cast<std::uint64_t>(std::chrono::nanoseconds(patience).count());
  }

  std::int64_t most_bytes() const { return peers_.layout.blocks * kBlockBytes; }

  void sum(const Device& device, float* x, std::int64_t elements) const {
    if (elements == 0) return;
    const int ranks = peers_.layout.ranks;
    const auto kernel = ranks <= 2   ? sum_over_peers_kernel<2>
                        : ranks <= 4 ? sum_over_peers_kernel<4>
                        : ranks <= 8 ? sum_over_peers_kernel<8>
                                     : sum_over_peers_kernel<kMostRanks>;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(ceil_divide<std::int64_t>(elements, kBlockElements)));
    shape.block = dim3(kThreads);
    shape.waits_for_peers = true;
    launch_early(device, kernel, shape, peers_, elements, x);
  }

  void abort() { std::atomic_ref(peers_.host->abort).store(1); }

  // Throws what became of sums.
  void check_peers() const {
    std::string missing;
    for (int rank = 0; rank < peers_.layout.ranks; ++rank) {
      if (std::atomic_ref(peers_.host->missing[rank]).load() == 0) continue;
      missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
    }
    if (!missing.empty()) {
      throw std::runtime_error("a sum over ranks, on rank " + std::to_string(peers_.rank) + "'s GPU: rank " +
                               missing + " did not come to it within " + std::to_string(patience_.count()) +
                               " ms");
    }
    if (std::atomic_ref(peers_.host->abort).load() != 0)
      throw std::runtime_error("sums over ranks were aborted");
  }

 private:
  std::unique_ptr<PeerMemory> memory_;
  PinnedMemory words_;
  std::chrono::milliseconds patience_{};
  Peers peers_{};
};

class PeerExchange final : public Exchange {
 public:
  PeerExchange(std::unique_ptr<Exchange> large, std::unique_ptr<PeerSums> sums, std::string why_not)
      : large_(std::move(large)), sums_(std::move(sums)), why_not_(std::move(why_not)) {}

  std::string description() const override {
    if (sums_ == nullptr) return large_->description() + " (without peer memory: " + why_not_ + ")";
    return "over peer memory up to " + std::to_string(sums_->most_bytes() >> 10) + " KiB, else " +
           large_->description();
  }
  int ranks() const override { return large_->ranks(); }
  bool is_queued() const override { return large_->is_queued(); }
  bool queues_sum(std::int64_t bytes) const override { return is_small(bytes) || large_->queues_sum(bytes); }

  void sum(const Device& device, Matrix x) override {
    if (!is_small(x.bytes())) return large_->sum(device, x);
    sums_->sum(device, device_pointer<float>(x.data), x.rows * x.cols);
  }
  void gather(const Device& device, ConstMatrix mine, Matrix all) override {
    large_->gather(device, mine, all);
  }
  void check_peers() override {
    if (sums_ != nullptr) sums_->check_peers();
    large_->check_peers();
  }
  void abort() override {
    if (sums_ != nullptr) sums_->abort();
    large_->abort();
  }

 private:
  bool is_small(std::int64_t bytes) const { return sums_ != nullptr && bytes <= sums_->most_bytes(); }

  std::unique_ptr<Exchange> large_;
  std::unique_ptr<PeerSums> sums_;  // null: there are none
  std::string why_not_;
};

// There are machines whose GPUs say that they reach each other's memory, but don't: the first sums are of
// known numbers. Collective. Throws StartupError on all ranks where one got others.
void try_out(Communicator& group, const PeerSums& sums) {
  constexpr int kSums = kBuffers + 1;
  std::vector<float> values(kBlockElements + 1, static_cast<float>(group.rank() + 1));
  const std::size_t bytes = values.size() * sizeof(float);
  std::unique_ptr<PinnedMemory> pinned;  // which the GPU reads and writes as its own
  std::shared_ptr<void> stream;
  together(group, [&] {
    pinned = std::make_unique<PinnedMemory>(bytes);
    std::memcpy(pinned->bytes().data(), values.data(), bytes);
    cudaStream_t made = nullptr;
    check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "a stream");
    stream = {made, [](void* owned) { cudaStreamDestroy(static_cast<cudaStream_t>(owned)); }};
  });
  // Ranks of one process come here together: calls above may wait for the whole GPU.
  together(group, [&] {
    const Device device = {.stream = static_cast<cudaStream_t>(stream.get())};
    for (int i = 0; i < kSums; ++i) {
      sums.sum(device, reinterpret_cast<float*>(pinned->bytes().data()), std::ssize(values));
    }
    check(cudaStreamSynchronize(device.stream), "a first sum");
    sums.check_peers();
    std::memcpy(values.data(), pinned->bytes().data(), bytes);
    const auto ranks = static_cast<float>(group.size());
    float expected = (ranks + 1) / 2;
    for (int i = 0; i < kSums; ++i) expected *= ranks;
    if (std::ranges::any_of(values, [&](float value) { return value != expected; })) {
      throw std::runtime_error("a first sum over peer memory came out wrong");
    }
  });
}

// Throws StartupError on all ranks where one can't.
std::unique_ptr<PeerSums> make_sums(Communicator& group, const PeerOptions& options) {
  if (options.most_bytes <= 0) throw StartupError(ExitCode::device, "it is not wanted");
  if (group.size() > kMostRanks) {
    throw StartupError(ExitCode::device, "there are more than " + std::to_string(kMostRanks) + " ranks");
  }
  const Layout layout = {
      .ranks = group.size(),
      .blocks = static_cast<int>(std::min(kMostBlocks, ceil_divide(options.most_bytes, kBlockBytes)))};
  auto memory = PeerMemory::share(group, layout.bytes(), options.place);
  std::unique_ptr<PeerSums> sums;
  together(group, [&] { sums = std::make_unique<PeerSums>(std::move(memory), layout, group.rank()); });
  sums->set_patience(options.first_patience);
  try_out(group, *sums);
  sums->set_patience(options.patience);
  return sums;
}

}  // namespace

std::unique_ptr<Exchange> make_peer_exchange(std::unique_ptr<Exchange> large, Communicator& group,
                                             const PeerOptions& options) {
  std::unique_ptr<PeerSums> sums;
  std::string why_not;
  try {
    sums = make_sums(group, options);
  } catch (const StartupError& error) {
    why_not = error.what();
    cudaGetLastError();  // it is told here, and no later call should tell it again
  }
  return std::make_unique<PeerExchange>(std::move(large), std::move(sums), std::move(why_not));
}

}  // namespace sinkstream::kernels::cuda
