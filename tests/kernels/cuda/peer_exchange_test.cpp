// Sums over peer memory, by threads that stand for ranks.
#include "kernels/cuda/between_ranks/peer_exchange.h"

#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <string>
#include <thread>

#include "kernels/cuda/cuda_backend.h"
#include "parallel/communicator/in_process.h"
#include "tests/kernels/emulation/on_gpu.h"
#include "tests/kernels/on_device.h"

namespace sinkstream::kernels::cuda {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int kRankCounts[] = {2, 3, 4, 8};

// What a rank brings to its n-th sum, such that the order of additions shows.
std::vector<float> values_of(int rank, int n, std::int64_t elements) {
  std::vector<float> values =
      Random(static_cast<std::uint32_t>(1000 * n + 10 * elements + rank)).numbers(elements);
  for (float& value : values) value *= std::ldexp(1.0f, 5 * (rank + n) % 17);
  return values;
}

std::vector<float> sum_of(int ranks, int n, std::int64_t elements) {
  std::vector<float> sum = values_of(0, n, elements);
  for (int rank = 1; rank < ranks; ++rank) {
    const std::vector<float> added = values_of(rank, n, elements);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += added[i];
  }
  return sum;
}

// Through the host, and counted.
class Large final : public Exchange {
 public:
  explicit Large(Communicator& group) : inner_(make_host_exchange(group)) {}

  std::string description() const override { return "by another way"; }
  int ranks() const override { return inner_->ranks(); }
  bool is_queued() const override { return false; }
  void sum(const Device& device, Matrix x) override {
    ++sums;
    inner_->sum(device, x);
  }
  void gather(const Device& device, ConstMatrix mine, Matrix all) override {
    inner_->gather(device, mine, all);
  }

  int sums = 0;

 private:
  std::unique_ptr<Exchange> inner_;
};

// One rank, with a stream of its own.
class Rank {
 public:
  Rank(Communicator& its_group, const PeerOptions& options) : group(its_group), number(its_group.rank()) {
    auto owner = std::make_unique<Large>(group);
    large = owner.get();
    exchange = make_peer_exchange(std::move(owner), group, options);
    check(cudaStreamCreateWithFlags(&device.stream, cudaStreamNonBlocking), "a stream");
  }
  ~Rank() {
    exchange->abort();
    cudaStreamDestroy(device.stream);
  }
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  // x = its n-th sum's part of this rank, behind the first `offset` elements; then queues the sum.
  void queue_sum(float* x, int n, std::int64_t elements) {
    const std::vector<float> values = values_of(number, n, elements);
    check(cudaMemcpyAsync(x, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice,
                          device.stream),
          "an upload");
    exchange->sum(device, Matrix{Address{reinterpret_cast<std::uintptr_t>(x)}, 1, elements});
  }
  std::vector<float> read(const float* x, std::int64_t elements) const {
    std::vector<float> values(static_cast<std::size_t>(elements));
    check(cudaMemcpyAsync(values.data(), x, values.size() * sizeof(float), cudaMemcpyDeviceToHost,
                          device.stream),
          "a download");
    return values;
  }
  void expect_sum(int n, std::int64_t elements) {
    const OnGpu<float> x(static_cast<std::size_t>(elements));
    queue_sum(x.data(), n, elements);
    expect_same_bits(read(x.data(), elements), sum_of(group.size(), n, elements));
    exchange->check_peers();
  }
  // What check_peers() throws when all queued is done.
  std::string failure() {
    EXPECT_EQ(cudaStreamSynchronize(device.stream), cudaSuccess);
    try {
      exchange->check_peers();
      return {};
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }

  Communicator& group;
  int number;
  Device device;
  Large* large;
  std::unique_ptr<Exchange> exchange;
};

class PeerExchangeTest : public testing::Test {
 protected:
  void TearDown() override {
    emulation::set_peer_access(true);
    emulation::set_sharing(true);
    emulation::misdirect_sharing(false);
    emulation::fail_allocation(0);
    emulation::set_devices(1);
  }

  // Small, so that tests are. Ranks of one process, which others know how to reach without handles.
  static PeerOptions options() {
    return {.most_bytes = 16 << 10, .patience = 10min, .first_patience = 10min, .place = {"here", 1}};
  }
  static PeerOptions in_process_of_its_own(int rank) {
    PeerOptions its = options();
    its.place.process = rank;
    return its;
  }

  // Runs `body` on each rank, on device `rank` % `devices`.
  void on_ranks(int ranks, const std::function<PeerOptions(int)>& options_of,
                const std::function<void(Rank&)>& body, int devices = 1) {
    emulation::set_devices(devices);
    const auto group = make_in_process_group(ranks);
    std::vector<std::thread> threads;
    for (int number = 0; number < ranks; ++number) {
      threads.emplace_back([&, number] {
        Communicator& mine = *group[static_cast<std::size_t>(number)];
        try {
          check(cudaSetDevice(number % devices), "a device");
          Rank rank(mine, options_of(number));
          body(rank);
          mine.barrier();  // nobody goes whom others may need
        } catch (const std::exception& error) {
          ADD_FAILURE() << "rank " << number << ": " << error.what();
          mine.abort("a rank has failed");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  // On ranks of one process, over peer memory.
  void on_peers(int ranks, const std::function<void(Rank&)>& body) {
    on_peers(
        ranks, [](int) { return options(); }, body);
  }
  void on_peers(int ranks, const std::function<PeerOptions(int)>& options_of,
                const std::function<void(Rank&)>& body, int devices = 1) {
    on_ranks(
        ranks, options_of,
        [&](Rank& rank) {
          ASSERT_TRUE(rank.exchange->queues_sum(4)) << rank.exchange->description();
          body(rank);
        },
        devices);
  }
};

TEST_F(PeerExchangeTest, SumsAreTheHostsInBits) {
  for (const int ranks : kRankCounts) {
    on_peers(ranks, [&](Rank& rank) {
      int n = 0;
      for (const std::int64_t elements : {1, 3, 4, 6, 255, 1023, 1024, 1025, 2048, 4095, 4096}) {
        if (ranks > 4 && elements > 1025) continue;
        rank.expect_sum(n++, elements);
      }
      EXPECT_EQ(rank.large->sums, 0);
      EXPECT_EQ(rank.exchange->description(), "over peer memory up to 16 KiB, else by another way");
    });
  }
}

TEST_F(PeerExchangeTest, ElementsMayStandAnywhereAndNothingBesideThemChanges) {
  on_peers(3, [](Rank& rank) {
    int n = 0;
    for (const std::int64_t elements : {1, 5, 1024, 1030}) {
      for (const std::int64_t offset : {1, 2, 3, 4}) {
        const OnGpu<float> all(
            std::vector<float>(static_cast<std::size_t>(elements + offset + 1), kUnwritten));
        rank.queue_sum(all.data() + offset, n, elements);
        const std::vector<float> read = rank.read(all.data(), elements + offset + 1);
        expect_same_bits(std::span(read).subspan(offset, elements), sum_of(3, n++, elements));
        for (std::int64_t i = 0; i < offset; ++i) EXPECT_EQ(read[i], kUnwritten);
        EXPECT_EQ(read.back(), kUnwritten);
      }
    }
  });
}

// Blocks that some sums don't need keep their turns apart from those that all need.
TEST_F(PeerExchangeTest, ManySumsOfAllSizesFollowEachOtherAndLargeOnesGoTheOtherWay) {
  on_peers(3, [](Rank& rank) {
    constexpr int kSums = 60;
    const std::int64_t sizes[] = {5, 1500, 1, 4096, 4097, 1024, 3};
    int large = 0;
    for (int n = 0; n < kSums; ++n) {
      const std::int64_t elements = sizes[n % std::ssize(sizes)];
      if (elements > 4096) ++large;
      rank.expect_sum(n, elements);
    }
    EXPECT_EQ(rank.large->sums, large);
    EXPECT_TRUE(rank.exchange->queues_sum(4096 * 4));
    EXPECT_FALSE(rank.exchange->queues_sum(4097 * 4)) << "that way is not queued";
  });
}

TEST_F(PeerExchangeTest, ASumWaitsForASlowRank) {
  for (const int slow : {0, 1, 2}) {
    on_peers(3, [&](Rank& rank) {
      for (int n = 0; n < 3; ++n) {
        if (rank.number == slow) std::this_thread::sleep_for(20ms);
        rank.expect_sum(n, 70);
      }
    });
  }
}

// Nobody waits between sums, so a rank gets as far ahead of another as it may.
TEST_F(PeerExchangeTest, SumsThatAreQueuedFarAheadKeepApart) {
  constexpr int kSums = 120;
  constexpr std::int64_t kElements = 40;
  on_peers(4, [](Rank& rank) {
    const OnGpu<float> all(std::vector<float>(kSums * kElements));
    Random random(static_cast<std::uint32_t>(rank.number));
    for (int n = 0; n < kSums; ++n) {
      rank.queue_sum(all.data() + n * kElements, n, kElements);
      if (random.number() > 0.7f) std::this_thread::sleep_for(1ms);
    }
    const std::vector<float> sums = rank.read(all.data(), kSums * kElements);
    for (int n = 0; n < kSums; ++n) {
      expect_same_bits(std::span(sums).subspan(n * kElements, kElements), sum_of(4, n, kElements));
    }
  });
}

TEST_F(PeerExchangeTest, GraphsThatComeAgainSumWhatIsThereThen) {
  constexpr int kRanks = 3;
  constexpr int kSteps = 6;
  const auto group = make_in_process_group(kRanks);
  std::vector<std::thread> threads;
  for (int number = 0; number < kRanks; ++number) {
    threads.emplace_back([&, number] {
      CudaBackend backend({.workspace_bytes = 1 << 20, .upload_segment_bytes = 4000},
                          *group[static_cast<std::size_t>(number)]);
      EXPECT_THAT(backend.description(), HasSubstr("over peer memory up to 128 KiB, else through the host"));
      const DeviceTensor x(backend, 3, 41), y(backend, Tensor(3, 41, 0.0f));
      Tensor expected_y(3, 41, 0.0f);
      for (int n = 0; n < kSteps; ++n) {
        const std::vector<float> values = values_of(number, n, 3 * 41);
        backend.upload(std::as_bytes(std::span(values)), Matrix(x).data);
        backend.sum_over_ranks(x);
        backend.add(x, y);
        backend.sum_over_ranks(y);
        backend.scale(0.25f, y);
        const Tensor y_now = y.read();
        const std::vector<float> sum = sum_of(kRanks, n, 3 * 41);
        for (std::size_t i = 0; i < sum.size(); ++i) {
          const float added = expected_y.data[i] + sum[i];
          expected_y.data[i] = (added + added + added) * 0.25f;
        }
        expect_same_bits(y_now.data, expected_y.data);
      }
      EXPECT_EQ(backend.graphs_launched(), kSteps - 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(PeerExchangeTest, ARankThatNeverComesIsNamed) {
  const auto impatient = [](int rank) {
    PeerOptions its = options();
    if (rank != 1) its.patience = 30ms;
    return its;
  };
  on_peers(2, impatient, [](Rank& rank) {
    const OnGpu<float> x(2000);
    if (rank.number == 0) {
      rank.queue_sum(x.data(), 0, 2000);
      EXPECT_THAT(rank.failure(), AllOf(HasSubstr("a sum over ranks, on rank 0's GPU: rank 1 did not come"),
                                        HasSubstr("within 30 ms")));
      rank.queue_sum(x.data(), 1, 2000);
      EXPECT_THAT(rank.failure(), HasSubstr("rank 1")) << "it stays so";
    }
    rank.group.barrier();
    // What rank 0 wrote before it waited is there, and it wrote nothing later.
    if (rank.number == 1) {
      rank.expect_sum(0, 2000);
      rank.queue_sum(x.data(), 1, 2000);
      for (int i = 0; i < 5; ++i) {
        std::this_thread::sleep_for(5ms);
        EXPECT_EQ(cudaStreamQuery(rank.device.stream), cudaErrorNotReady);
      }
      rank.exchange->abort();
      EXPECT_THAT(rank.failure(), HasSubstr("aborted"));
    }
  });
}

TEST_F(PeerExchangeTest, AnAbortEndsASumThatWaits) {
  on_peers(3, [](Rank& rank) {
    rank.expect_sum(0, 9);
    const OnGpu<float> x(3000);
    if (rank.number == 2) return;
    rank.queue_sum(x.data(), 1, 3000);
    std::this_thread::sleep_for(10ms);
    EXPECT_EQ(cudaStreamQuery(rank.device.stream), cudaErrorNotReady);
    EXPECT_NO_THROW(rank.exchange->check_peers());
    rank.exchange->abort();
    EXPECT_THAT(rank.failure(), HasSubstr("aborted"));
  });
}

TEST_F(PeerExchangeTest, ABackendWhoseRankIsMissingSaysSoAndEnds) {
  const auto group = make_in_process_group(2);
  std::vector<std::thread> threads;
  for (int number = 0; number < 2; ++number) {
    threads.emplace_back([&, number] {
      Communicator& mine = *group[static_cast<std::size_t>(number)];
      CudaOptions options = {.workspace_bytes = 1 << 20, .upload_segment_bytes = 4000};
      options.peer_patience_ms = 30;
      CudaBackend backend(options, mine);
      if (number == 0) {
        const DeviceTensor x(backend, Tensor(2, 2, 1.0f));
        backend.sum_over_ranks(x);
        for (int i = 0; i < 2; ++i) {
          try {
            wait_for_all(backend);
            ADD_FAILURE() << "wait " << i << " returned";
          } catch (const std::runtime_error& error) {
            EXPECT_THAT(error.what(), HasSubstr("rank 1 did not come to it within 30 ms"));
          }
        }
      }
      mine.barrier();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// ---- Who can't

class PeerExchangeWithout : public PeerExchangeTest {
 protected:
  void expect_without(int ranks, const std::function<PeerOptions(int)>& options_of, const std::string& why,
                      int devices = 1) {
    const std::size_t before = emulation::allocated_bytes();
    on_ranks(
        ranks, options_of,
        [&](Rank& rank) {
          EXPECT_THAT(rank.exchange->description(),
                      AllOf(HasSubstr("by another way (without peer memory: "), HasSubstr(why)));
          EXPECT_FALSE(rank.exchange->queues_sum(4));
          rank.expect_sum(0, 10);
          EXPECT_EQ(rank.large->sums, 1);
          EXPECT_EQ(emulation::open_handles(), 0);
        },
        devices);
    EXPECT_EQ(emulation::allocated_bytes(), before);
  }
};

TEST_F(PeerExchangeWithout, Want) {
  expect_without(
      2,
      [](int) {
        PeerOptions its = options();
        its.most_bytes = 0;
        return its;
      },
      "it is not wanted");
}

TEST_F(PeerExchangeWithout, OneHost) {
  expect_without(
      3,
      [](int rank) {
        PeerOptions its = in_process_of_its_own(rank);
        if (rank == 2) its.place.host = "there";
        return its;
      },
      "rank 2 is on another host than rank 0");
}

TEST_F(PeerExchangeWithout, AccessBetweenGpusOfOneProcess) {
  emulation::set_peer_access(false);
  expect_without(
      2, [](int) { return options(); }, "rank 0: GPU 0 does not reach the memory of GPU 1", 2);
}

TEST_F(PeerExchangeWithout, AccessBetweenGpusOfProcesses) {
  emulation::set_peer_access(false);
  expect_without(3, in_process_of_its_own, "CUDA: opening another rank's memory: peer access", 2);
}

TEST_F(PeerExchangeWithout, Handles) {
  emulation::set_sharing(false);
  expect_without(2, in_process_of_its_own, "CUDA: sharing memory with other ranks");
}

TEST_F(PeerExchangeWithout, Memory) {
  emulation::fail_allocation(1);
  expect_without(
      3, [](int) { return options(); }, ": CUDA: memory that ranks share: out of memory");
}

TEST_F(PeerExchangeWithout, TooManyRanks) {
  expect_without(
      17, [](int) { return options(); }, "there are more than 16 ranks");
}

TEST_F(PeerExchangeTest, GpusThatOnlySayThatTheyReachEachOtherAreFoundOut) {
  emulation::misdirect_sharing(true);
  const auto impatient = [](int rank) {
    PeerOptions its = in_process_of_its_own(rank);
    its.first_patience = 30ms;
    return its;
  };
  on_ranks(2, impatient, [](Rank& rank) {
    EXPECT_THAT(rank.exchange->description(), HasSubstr("without peer memory: rank 0: a sum over ranks"));
    rank.expect_sum(0, 10);
    EXPECT_EQ(rank.large->sums, 1);
  });
  EXPECT_EQ(emulation::open_handles(), 0);
}

// ---- Who can

TEST_F(PeerExchangeTest, ProcessesShareTheirMemoryByHandles) {
  on_peers(
      4, in_process_of_its_own,
      [](Rank& rank) {
        rank.expect_sum(0, 1100);
        rank.group.barrier();
        EXPECT_EQ(emulation::open_handles(), 4 * 3);
        rank.group.barrier();
      },
      2);
  EXPECT_EQ(emulation::open_handles(), 0);
}

TEST_F(PeerExchangeTest, GpusOfOneProcessReachEachOther) {
  on_peers(
      3, [](int) { return options(); }, [](Rank& rank) { rank.expect_sum(0, 1100); }, 3);
}

}  // namespace
}  // namespace sinkstream::kernels::cuda
