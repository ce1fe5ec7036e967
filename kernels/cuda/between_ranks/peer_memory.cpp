#include "kernels/cuda/between_ranks/peer_memory.h"

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "kernels/cuda/cuda_error.h"
#include "parallel/start/local_ranks.h"
#include "parallel/start/together.h"

namespace sinkstream::kernels::cuda {
namespace {

// What a rank tells the others of its memory.
struct Card {
  int device;                               // as its process counts
  const std::shared_ptr<void>* in_process;  // for ranks of the same process, until all have taken it
  cudaIpcMemHandle_t handle;                // for others
};

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "which GPU is chosen");
  return device;
}

std::shared_ptr<void> allocate(std::int64_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, static_cast<std::size_t>(bytes)), "memory that ranks share");
  std::shared_ptr<void> owner(memory, [](void* address) { cudaFree(address); });
  check(cudaMemset(memory, 0, static_cast<std::size_t>(bytes)), "clearing memory that ranks share");
  check(cudaDeviceSynchronize(), "clearing memory that ranks share");
  return owner;
}

// Of a rank of this process, which CUDA's handles don't serve.
std::shared_ptr<void> take(const Card& card) {
  const int mine = current_device();
  if (card.device != mine) {
    int can = 0;
    check(cudaDeviceCanAccessPeer(&can, mine, card.device), "whether GPUs reach each other's memory");
    if (can == 0) {
      throw std::runtime_error("GPU " + std::to_string(mine) + " does not reach the memory of GPU " +
                               std::to_string(card.device));
    }
    const cudaError_t error = cudaDeviceEnablePeerAccess(card.device, 0);
    if (error != cudaErrorPeerAccessAlreadyEnabled) check(error, "reaching another GPU's memory");
    cudaGetLastError();
  }
  return *card.in_process;
}

// Of another process of this host. Refused where the GPUs don't reach each other's memory.
std::shared_ptr<void> open(const Card& card) {
  void* memory = nullptr;
  check(cudaIpcOpenMemHandle(&memory, card.handle, cudaIpcMemLazyEnablePeerAccess),
        "opening another rank's memory");
  return {memory, [](void* opened) { cudaIpcCloseMemHandle(opened); }};
}

// Never freed: to free what another process has open is undefined, and nobody says when it has closed it. It
// goes with the process, of which there is one for each rank.
void keep_for_ever(std::shared_ptr<void> memory) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::shared_ptr<void>>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(memory));
}

}  // namespace

PeerPlace PeerPlace::of_this_process() {
  return {host_identity(), getpid()};
}

PeerMemory::~PeerMemory() = default;

std::unique_ptr<PeerMemory> PeerMemory::share(Communicator& group, std::int64_t bytes,
                                              const PeerPlace& place) {
  const std::vector<std::string> hosts = all_gather_strings(group, place.host);
  const auto other =
      std::ranges::find_if(hosts, [&](const std::string& host) { return host != hosts.front(); });
  if (other != hosts.end()) {
    throw StartupError(ExitCode::device,
                       "rank " + std::to_string(other - hosts.begin()) + " is on another host than rank 0");
  }
  const std::vector<std::int64_t> processes = all_gather_value(group, place.process);
  const bool all_in_process =
      std::ranges::all_of(processes, [&](std::int64_t process) { return process == place.process; });

  std::shared_ptr<void> mine;
  Card card{};
  together(group, [&] {
    mine = allocate(bytes);
    card.device = current_device();
    card.in_process = &mine;
    if (!all_in_process)
      check(cudaIpcGetMemHandle(&card.handle, mine.get()), "sharing memory with other ranks");
  });
  const std::vector<Card> cards = all_gather_value(group, card);
  std::unique_ptr<PeerMemory> shared(new PeerMemory);
  shared->of_ranks_.resize(cards.size());
  try {
    together(group, [&] {
      for (std::size_t rank = 0; rank < cards.size(); ++rank) {
        shared->of_ranks_[rank] = static_cast<int>(rank) == group.rank() ? mine
                                  : processes[rank] == place.process     ? take(cards[rank])
                                                                         : open(cards[rank]);
      }
    });
  } catch (const StartupError&) {
    shared.reset();
    group.barrier();  // nobody has `mine` open when it is freed
    throw;
  }
  if (!all_in_process) keep_for_ever(std::move(mine));
  return shared;
}

}  // namespace sinkstream::kernels::cuda
