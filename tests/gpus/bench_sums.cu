// Sums over ranks by way of peer memory: that they are right, and what one takes. All ranks share one GPU
// here, so nothing crosses a link between GPUs: the times are those of launches, writes and flags. First as
// processes, which share memory by CUDA's handles as ranks do that have GPUs of their own, but take turns on
// a shared one, so that a sum takes as long as a turn; then as threads of one process, whose kernels run at a
// time.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/cuda/between_ranks/peer_exchange.h"
#include "parallel/communicator/in_process.h"
#include "tests/gpus/benches.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kMostSeconds = 20;  // for all of it
constexpr std::int64_t kKibibytes[] = {8, 16, 32, 64, 128};

// ---- Ranks that are processes

struct SharedMemory {
  static constexpr std::size_t kMostBytes = 1 << 12;  // of a rank's message
  static constexpr int kMostRanks = 8;

  pthread_barrier_t barrier;
  std::byte messages[kMostRanks][kMostBytes];
};

// Only what is needed while an exchange is made.
class ForkedCommunicator final : public Communicator {
 public:
  ForkedCommunicator(SharedMemory& memory, int rank, int size) : memory_(memory), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (mine.size() > SharedMemory::kMostBytes) throw std::invalid_argument("a message is too long");
    std::memcpy(memory_.messages[rank_], mine.data(), mine.size());
    barrier();
    for (int rank = 0; rank < size_; ++rank) {
      std::memcpy(all.data() + mine.size() * static_cast<std::size_t>(rank), memory_.messages[rank],
                  mine.size());
    }
    barrier();
  }
  void broadcast(std::vector<std::byte>& message) override {
    std::vector<std::byte> all(message.size() * static_cast<std::size_t>(size_));
    all_gather(message, all);
    message.assign(all.begin(), all.begin() + std::ssize(message));
  }
  void all_reduce_sum(std::span<float>) override { throw std::logic_error("a sum that is not small"); }
  void barrier() override { pthread_barrier_wait(&memory_.barrier); }
  void abort(const std::string& reason) override { throw std::runtime_error(reason); }

 private:
  SharedMemory& memory_;
  int rank_;
  int size_;
};

// ---- What each rank does

float value_of(int rank, int n, std::int64_t i) {
  auto bits = static_cast<std::uint32_t>((i * 31 + n) * 8 + rank) * 2654435761u;
  bits ^= bits >> 15;
  return std::ldexp(static_cast<float>(bits & 0xffff) - 32768.0f, rank * 5 % 17 - 16);
}

class Rank {
 public:
  explicit Rank(Communicator& its_group) : group_(its_group) {
    check(cudaSetDevice(0), "a GPU");
    exchange_ = make_peer_exchange(make_host_exchange(group_), group_, {.patience = std::chrono::seconds(5)});
    check(cudaStreamCreateWithFlags(&device_.stream, cudaStreamNonBlocking), "a stream");
    int major = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "what the GPU is");
    device_.has_early_launch = major >= 9;
    check(cudaMalloc(&x_, kKibibytes[std::size(kKibibytes) - 1] << 10), "memory");
    if (!exchange_->queues_sum(4)) throw std::runtime_error(exchange_->description());
  }

  // Sums of odd sizes, some in a row before anybody looks.
  void check_sums(int count) {
    const std::int64_t sizes[] = {1, 1023, 1024, 4099, 32768, 7};
    std::vector<float> values;
    for (int n = 0; n < count; ++n) {
      const std::int64_t elements = sizes[n % std::size(sizes)];
      values.resize(static_cast<std::size_t>(elements));
      for (std::int64_t i = 0; i < elements; ++i) values[i] = value_of(group_.rank(), n, i);
      check(cudaMemcpyAsync(x_, values.data(), values.size() * 4, cudaMemcpyHostToDevice, device_.stream),
            "an upload");
      sum(elements);
      check(cudaMemcpyAsync(values.data(), x_, values.size() * 4, cudaMemcpyDeviceToHost, device_.stream),
            "a download");
      check(cudaStreamSynchronize(device_.stream), "a sum");
      exchange_->check_peers();
      for (std::int64_t i = 0; i < elements; ++i) {
        float expected = value_of(0, n, i);
        for (int rank = 1; rank < group_.size(); ++rank) expected += value_of(rank, n, i);
        if (values[i] != expected) throw std::runtime_error("sum " + std::to_string(n) + " came out wrong");
      }
    }
  }

  // Microseconds a sum, of a graph of `count`; the best of some.
  float time_sums(std::int64_t bytes, int count, int tries) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    group_.barrier();
    check(cudaStreamBeginCapture(device_.stream, cudaStreamCaptureModeThreadLocal), "a graph");
    for (int i = 0; i < count; ++i) sum(bytes / 4);
    check(cudaStreamEndCapture(device_.stream, &graph), "a graph");
    check(cudaGraphInstantiate(&executable, graph, 0), "a graph");
    check(cudaGraphUpload(executable, device_.stream), "a graph");
    check(cudaMemsetAsync(x_, 0, static_cast<std::size_t>(bytes), device_.stream), "zeros");
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin), "an event");
    check(cudaEventCreate(&end), "an event");
    check(cudaStreamSynchronize(device_.stream), "a graph");
    float best = 1e9f;
    for (int i = 0; i < tries; ++i) {
      group_.barrier();  // nobody is in a call that waits for the whole GPU
      check(cudaEventRecord(begin, device_.stream), "an event");
      check(cudaGraphLaunch(executable, device_.stream), "a graph");
      check(cudaEventRecord(end, device_.stream), "an event");
      check(cudaStreamSynchronize(device_.stream), "sums");
      exchange_->check_peers();
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin, end), "a time");
      best = std::min(best, milliseconds * 1000 / static_cast<float>(count));
    }
    group_.barrier();
    check(cudaGraphExecDestroy(executable), "a graph");
    check(cudaGraphDestroy(graph), "a graph");
    return best;
  }

  std::string description() const { return exchange_->description(); }
  void barrier() { group_.barrier(); }
  bool is_leader() const { return group_.is_leader(); }

 private:
  void sum(std::int64_t elements) {
    exchange_->sum(device_, Matrix{Address{reinterpret_cast<std::uintptr_t>(x_)}, 1, elements});
  }

  Communicator& group_;
  std::unique_ptr<Exchange> exchange_;
  Device device_;
  float* x_ = nullptr;
};

void run(Rank& rank, const char* how, int ranks, int checks, int count, int tries) {
  if (rank.is_leader()) std::printf("%d ranks on one GPU, %s: %s\n", ranks, how, rank.description().c_str());
  rank.check_sums(checks);
  rank.barrier();
  if (rank.is_leader()) std::printf("  %d sums have the host's bits\n", checks);
  for (const std::int64_t kibibytes : kKibibytes) {
    const float microseconds = rank.time_sums(kibibytes << 10, count, tries);
    if (rank.is_leader())
      std::printf("  %4lld KiB: %8.1f us a sum\n", static_cast<long long>(kibibytes), microseconds);
  }
  std::fflush(stdout);
}

// 0 when all went well.
int as_processes(int ranks) {
  void* const memory =
      mmap(nullptr, sizeof(SharedMemory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* const shared = new (memory) SharedMemory;
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&shared->barrier, &attributes, static_cast<unsigned>(ranks));
  std::vector<pid_t> children;
  for (int number = 0; number < ranks; ++number) {
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child > 0) {
      children.push_back(child);
      continue;
    }
    alarm(kMostSeconds / 2);  // also where another rank is gone
    int status = 0;
    try {
      ForkedCommunicator group(*shared, number, ranks);
      Rank rank(group);
      run(rank, "a process each, which take turns", ranks, 30, 2, 3);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "rank %d: %s\n", number, error.what());
      status = 1;
    }
    _exit(status);
  }
  int failed = 0;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) failed = 1;
  }
  if (failed) std::printf("%d ranks as processes: FAILED\n", ranks);
  return failed;
}

int as_threads(int ranks) {
  const auto group = make_in_process_group(ranks);
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int number = 0; number < ranks; ++number) {
    threads.emplace_back([&, number] {
      Communicator& mine = *group[static_cast<std::size_t>(number)];
      try {
        Rank rank(mine);
        run(rank, "a thread each", ranks, 300, 100, 5);
        mine.barrier();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "rank %d: %s\n", number, error.what());
        mine.abort("a rank has failed");
        failed = 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failed;
}

}  // namespace
}  // namespace sinkstream::kernels::cuda

int sinkstream::bench_sums(std::span<const std::string>) {
  using namespace kernels::cuda;
  // Kernels of one process that wait for each other: none may need loading meanwhile, and each stream a
  // queue.
  setenv("CUDA_MODULE_LOADING", "EAGER", 1);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1);
  alarm(kMostSeconds);
  int failed = as_processes(2);  // before this process uses CUDA
  for (const int ranks : {2, 4, 8}) failed += as_threads(ranks);
  return failed == 0 ? 0 : 1;
}
