// That the threads of an emulated kernel do what a GPU's do, and that what breaks their rules is found.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include "kernels/cuda/ptx.h"
#include "tests/kernels/emulation/on_gpu.h"

namespace sinkstream::kernels::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using EmulatedThreads = Emulation;

__global__ void number_threads(unsigned* numbers) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  numbers[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

TEST_F(EmulatedThreads, EachThreadOfEachBlockRunsOnce) {
  for (int schedule = 0; schedule < kSchedules; ++schedule) {
    const OnGpu<unsigned> numbers(2 * 3 * 5 * 4 * 3 * 2);
    launch(number_threads, {dim3(2, 3, 5), dim3(4, 3, 2)}, stream_, numbers.data());
    const std::vector<unsigned> read = numbers.read(stream_);
    for (unsigned i = 0; i < read.size(); ++i) ASSERT_EQ(read[i], i / 24 * 1000 + i % 24);
  }
}

// A sum of each block by way of shared memory of both sorts, and of shuffles.
__global__ void sum_blocks(const float* values, float* sums) {
  __shared__ float of_warps[32];
  float* const all = dynamic_shared<float>();
  all[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  float sum = all[blockDim.x - 1 - threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  float total = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += of_warps[warp];
  sums[blockIdx.x] = total;
}

TEST_F(EmulatedThreads, OfABlockWorkTogether) {
  std::vector<float> values(16 * 256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
  const OnGpu<float> in(values);
  for (int schedule = 0; schedule < kSchedules; ++schedule) {
    const OnGpu<float> out(16);
    launch(sum_blocks, {16, 256, 256 * sizeof(float)}, stream_, in.data(), out.data());
    const std::vector<float> sums = out.read(stream_);
    for (std::size_t block = 0; block < sums.size(); ++block) {
      ASSERT_EQ(sums[block], std::reduce(&values[block * 256], &values[block * 256] + 256));
    }
  }
}

struct OfALane {
  int from, up, down, crossed, within, crossed_within;
  unsigned ballot;
  int any, all, none;
};

__global__ void ask_the_warp(OfALane* lanes) {
  const int lane = static_cast<int>(threadIdx.x);
  OfALane& mine = lanes[lane];
  mine.from = __shfl_sync(kWholeWarp, lane * 10, (lane + 5) % 32);
  mine.up = __shfl_up_sync(kWholeWarp, lane, 3);
  mine.down = __shfl_down_sync(kWholeWarp, lane, 3);
  mine.crossed = __shfl_xor_sync(kWholeWarp, lane, 9);
  mine.within = __shfl_sync(kWholeWarp, lane, 2, 8);
  mine.crossed_within = __shfl_xor_sync(kWholeWarp, lane, 5, 4);
  mine.ballot = __ballot_sync(kWholeWarp, lane % 3 == 0);
  mine.any = __any_sync(kWholeWarp, lane == 31);
  mine.all = __all_sync(kWholeWarp, lane < 32);
  mine.none = __all_sync(kWholeWarp, lane < 31);
}

TEST_F(EmulatedThreads, OfAWarpTellEachOther) {
  for (int schedule = 0; schedule < kSchedules; ++schedule) {
    const OnGpu<OfALane> lanes(32);
    launch(ask_the_warp, {1, 32}, stream_, lanes.data());
    const std::vector<OfALane> read = lanes.read(stream_);
    for (int lane = 0; lane < 32; ++lane) {
      const OfALane& mine = read[static_cast<std::size_t>(lane)];
      ASSERT_EQ(mine.from, (lane + 5) % 32 * 10);
      ASSERT_EQ(mine.up, lane < 3 ? lane : lane - 3);
      ASSERT_EQ(mine.down, lane > 28 ? lane : lane + 3);
      ASSERT_EQ(mine.crossed, lane ^ 9);
      ASSERT_EQ(mine.within, lane / 8 * 8 + 2);
      ASSERT_EQ(mine.crossed_within, lane % 8 < 4 ? lane : lane ^ 5)
          << "only lanes of groups before are seen";
      ASSERT_EQ(mine.ballot, 0x49249249u);
      ASSERT_EQ(mine.any, 1);
      ASSERT_EQ(mine.all, 1);
      ASSERT_EQ(mine.none, 0);
    }
  }
}

__global__ void count_threads(int* counts) {
  const bool odd = threadIdx.x % 2 == 1;
  counts[3 * threadIdx.x] = __syncthreads_count(odd ? 7 : 0);
  counts[3 * threadIdx.x + 1] = __syncthreads_or(threadIdx.x == 70);
  counts[3 * threadIdx.x + 2] = __syncthreads_and(threadIdx.x < 70);
}

TEST_F(EmulatedThreads, OfABlockAreCounted) {
  const OnGpu<int> counts(3 * 71);
  launch(count_threads, {1, 71}, stream_, counts.data());
  const std::vector<int> read = counts.read(stream_);
  for (std::size_t i = 0; i < read.size(); i += 3) {
    ASSERT_EQ(read[i], 35);
    ASSERT_EQ(read[i + 1], 1);
    ASSERT_EQ(read[i + 2], 0);
  }
}

// d = d + a * b, all row-major.
__global__ void multiply_16_8_16(const float* a, const float* b, float* d) {
  const unsigned group = threadIdx.x / 4, pair = threadIdx.x % 4 * 2;
  const auto at = [](const float* matrix, unsigned cols, unsigned row, unsigned col) {
    return matrix[row * cols + col];
  };
  std::uint32_t mine_a[4], mine_b[2];
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = group + i % 2 * 8, col = pair + i / 2 * 8;
    mine_a[i] = pack_bf16(at(a, 16, row, col), at(a, 16, row, col + 1));
  }
  for (unsigned i = 0; i < 2; ++i) {
    mine_b[i] = pack_bf16(at(b, 8, pair + i * 8, group), at(b, 8, pair + i * 8 + 1, group));
  }
  float mine[4];
  for (unsigned i = 0; i < 4; ++i) mine[i] = at(d, 8, group + i / 2 * 8, pair + i % 2);
  mma_bf16(mine, mine_a, mine_b);
  for (unsigned i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + pair + i % 2] = mine[i];
}

TEST_F(EmulatedThreads, MultiplyMatrices) {
  std::mt19937 random(3);
  const auto numbers = [&](std::size_t count) {  // exact in bf16, and so that sums are exact in float32
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 255) - 127);
    return values;
  };
  for (int schedule = 0; schedule < kSchedules; ++schedule) {
    const std::vector<float> a = numbers(16 * 16), b = numbers(16 * 8), before = numbers(16 * 8);
    const OnGpu<float> gpu_a(a), gpu_b(b), gpu_d(before);
    launch(multiply_16_8_16, {1, 32}, stream_, gpu_a.data(), gpu_b.data(), gpu_d.data());
    const std::vector<float> d = gpu_d.read(stream_);
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t col = 0; col < 8; ++col) {
        float sum = before[row * 8 + col];
        for (std::size_t k = 0; k < 16; ++k) sum += a[row * 16 + k] * b[k * 8 + col];
        ASSERT_EQ(d[row * 8 + col], sum) << row << ", " << col;
      }
    }
  }
}

__global__ void count_up(unsigned* at, int* most) {
  atomicAdd(at, threadIdx.x);
  atomicMax(most, static_cast<int>(threadIdx.x) - 50);
  atomicMin(most + 1, -static_cast<int>(threadIdx.x));
  atomicOr(at + 1, 1u << (threadIdx.x % 32));
  if (atomicCAS(at + 2, 0u, threadIdx.x + 1) == 0) atomicExch(at + 3, threadIdx.x + 1);
}

TEST_F(EmulatedThreads, AtomicsAddUp) {
  const OnGpu<unsigned> at(std::vector<unsigned>(4, 0));
  const OnGpu<int> most(std::vector<int>(2, 0));
  launch(count_up, {3, 100}, stream_, at.data(), most.data());
  const std::vector<unsigned> read = at.read(stream_);
  EXPECT_EQ(read[0], 3u * 4950);
  EXPECT_EQ(read[1], 0xffffffffu);
  EXPECT_NE(read[2], 0u);
  EXPECT_EQ(read[2], read[3]);
  EXPECT_EQ(most.read(stream_), (std::vector<int>{49, -99}));
}

TEST(EmulatedIntrinsics, AreThoseOfCuda) {
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7340u), 0x77334400u);
  EXPECT_EQ(__byte_perm(0x80000000u, 0, 0x000bu), 0x000000ffu) << "bit 3 spreads the sign";
  EXPECT_EQ(__funnelshift_l(0x80000000u, 1u, 1), 3u);
  EXPECT_EQ(__funnelshift_r(0x80000000u, 1u, 31), 3u);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__popc(0xf0u), 4);
  EXPECT_EQ(max(NAN, 1.0f), 1.0f);
  EXPECT_EQ(min(-2, 3), -2);
  EXPECT_EQ(__umulhi(0x80000000u, 6u), 3u);
}

// ---- What breaks the rules

__global__ void some_skip_the_barrier() {
  if (threadIdx.x != 37) __syncthreads();
}
__global__ void some_leave_early(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void two_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void half_a_warp_shuffles() {
  if (threadIdx.x < 16) __shfl_xor_sync(kWholeWarp, 1, 1);
}
__global__ void two_shuffles() {
  if (threadIdx.x < 16) {
    __shfl_xor_sync(kWholeWarp, 1, 1);
  } else {
    __shfl_xor_sync(kWholeWarp, 1, 1);
  }
}
__global__ void part_of_a_mask() {
  __shfl_xor_sync(0xffffu, 1, 1);
}
__global__ void barrier_against_shuffle() {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}
__global__ void throws() {
  __syncthreads();
  if (threadIdx.x == 3) throw std::runtime_error("a thread's own trouble");
  __syncthreads();
}
__global__ void shuffles() {
  __shfl_xor_sync(kWholeWarp, 1, 1);
}

TEST_F(EmulatedThreads, ThatDoNotAllComeAreAnErrorAndNoHang) {
  for (int schedule = 0; schedule < kSchedules; ++schedule) {
    launch(some_skip_the_barrier, {1, 64}, stream_);
    EXPECT_THAT(failure(), AllOf(HasSubstr("not all lanes of a warp come to the same place"),
                                 HasSubstr("thread (37, 0, 0) has returned"),
                                 HasSubstr("waits at __syncthreads (threads_test.cpp:")));
    const OnGpu<int> out(64);
    launch(some_leave_early, {2, 64}, stream_, out.data());
    EXPECT_THAT(failure(), HasSubstr("thread (40, 0, 0)"));
    launch(two_barriers, {1, 64}, stream_);
    EXPECT_THAT(failure(), AllOf(HasSubstr("block (0, 0, 0): not all threads come to the same barrier"),
                                 HasSubstr("thread (0, 0, 0) to (31, 0, 0) waits at __syncthreads")));
    launch(half_a_warp_shuffles, {1, 32}, stream_);
    EXPECT_THAT(failure(), HasSubstr("thread (0, 0, 0) to (15, 0, 0) waits at a shuffle"));
    launch(two_shuffles, {1, 32}, stream_);
    EXPECT_THAT(failure(), HasSubstr("not all lanes of a warp come to the same place"));
    launch(part_of_a_mask, {1, 32}, stream_);
    EXPECT_THAT(failure(), HasSubstr("a mask that is not the whole warp"));
    launch(barrier_against_shuffle, {1, 32}, stream_);
    EXPECT_THAT(failure(), AllOf(HasSubstr("at __syncthreads"), HasSubstr("at __syncwarp")));
    launch(throws, {1, 64}, stream_);
    EXPECT_THAT(failure(), HasSubstr("thread (3, 0, 0): a thread's own trouble"));
    launch(shuffles, {1, 40}, stream_);
    EXPECT_THAT(failure(), HasSubstr("a warp of fewer than 32 threads"));

    const OnGpu<unsigned> numbers(40);
    launch(number_threads, {1, 40}, stream_, numbers.data());
    EXPECT_EQ(numbers.read(stream_)[39], 39u) << "the fibers serve the next kernel";
  }
}

__global__ void read_unwritten(float* out) {
  out[threadIdx.x] = dynamic_shared<float>()[threadIdx.x];
}

TEST_F(EmulatedThreads, ReadNoneOfWhatTheBlockBeforeLeftInSharedMemory) {
  const OnGpu<float> values(std::vector<float>(256, 1.0f));
  const OnGpu<float> out(32);
  launch(sum_blocks, {1, 256, 1024}, stream_, values.data(), out.data());
  launch(read_unwritten, {1, 32, 128}, stream_, out.data());
  for (const float value : out.read(stream_)) EXPECT_TRUE(std::isnan(value));
}

__global__ void missing_barrier(int* out) {
  int* const all = dynamic_shared<int>();
  all[threadIdx.x] = static_cast<int>(threadIdx.x);
  out[threadIdx.x] = all[(threadIdx.x + blockDim.x / 2) % blockDim.x];
}

using EmulatedThreadsDeathTest = Emulation;

TEST_F(EmulatedThreadsDeathTest, SeeABarrierMissingInAnySchedule) {
  for (int schedule = 0; schedule < kSchedules; ++schedule) {
    const OnGpu<int> out(64);
#ifdef __SANITIZE_THREAD__  // it finds the race itself, also where it does no harm
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(
        {
          emulation::set_schedule(static_cast<std::uint64_t>(schedule));
          launch(missing_barrier, {1, 64, 64 * sizeof(int)}, stream_, out.data());
          cudaStreamSynchronize(stream_);
          std::exit(0);
        },
        testing::ExitedWithCode(66), "data race(.|\n)*missing_barrier");
    if (schedule == 2) break;  // one of each kind
#else
    launch(missing_barrier, {1, 64, 64 * sizeof(int)}, stream_, out.data());
    const std::vector<int> read = out.read(stream_);
    EXPECT_NE(std::count(read.begin(), read.end(), -1), 0);
#endif
  }
}

__global__ void write_beside(int at) {
  dynamic_shared<char>()[at] = 1;
}

TEST_F(EmulatedThreadsDeathTest, MayNotWriteBesideSharedMemory) {
  for (const int at : {100, 130, -1}) {
#ifdef __SANITIZE_ADDRESS__
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
          launch(write_beside, {1, 1, 100}, stream_, at);
          cudaStreamSynchronize(stream_);
        },
        "AddressSanitizer: use-after-poison");
#else
    launch(write_beside, {1, 1, 100}, stream_, at);
    EXPECT_THAT(failure(), HasSubstr("beside its 100 bytes of dynamic shared memory"));
#endif
  }
}

// ---- Copies that are awaited

constexpr int kPieces = 6;

__global__ void copy_pieces(const uint4* from, uint4* before, uint4* after, bool wait) {
  uint4* const shared = dynamic_shared<uint4>();
  for (int piece = 0; piece < kPieces; ++piece) {
    copy_async_16(&shared[piece * 32 + threadIdx.x], &from[piece * 32 + threadIdx.x], piece != 4);
    commit_copies();
  }
  before[threadIdx.x] = shared[threadIdx.x];
  if (wait) wait_for_copies<2>();
  for (int piece = 0; piece < kPieces; ++piece)
    after[piece * 32 + threadIdx.x] = shared[piece * 32 + threadIdx.x];
  wait_for_copies<0>();
  after[kPieces * 32 + threadIdx.x] = shared[4 * 32 + threadIdx.x];
  after[(kPieces + 1) * 32 + threadIdx.x] = shared[5 * 32 + threadIdx.x];
}

TEST_F(EmulatedThreads, SeeCopiesOnlyOnceTheyWaitedForThem) {
  std::vector<uint4> values(kPieces * 32);
  for (unsigned i = 0; i < values.size(); ++i) values[i] = {i, i, i, i};
  const OnGpu<uint4> from(values);
  for (const bool wait : {false, true}) {
    const OnGpu<uint4> before(32), after((kPieces + 2) * 32);
    launch(copy_pieces, {1, 32, kPieces * 32 * 16}, stream_, from.data(), before.data(), after.data(), wait);
    const std::vector<uint4> read_before = before.read(stream_), read = after.read(stream_);
    const auto poisoned = [](const uint4& value) { return value.x == 0xffffffffu; };
    EXPECT_TRUE(std::ranges::any_of(read_before, poisoned)) << "it may not be relied on that they are there";
    EXPECT_FALSE(std::ranges::all_of(read_before, poisoned)) << "nor that they are not";
    const std::size_t sure = wait ? 4 * 32 : 0;  // of six pieces all but two
    for (std::size_t i = 0; i < sure; ++i) ASSERT_EQ(read[i].w, i);
    EXPECT_TRUE(
        std::any_of(read.begin() + static_cast<std::ptrdiff_t>(sure), read.begin() + kPieces * 32, poisoned));
    for (std::size_t i = 0; i < 32; ++i) {
      ASSERT_EQ(read[kPieces * 32 + i].w, 0u) << "it was not wanted";
      ASSERT_EQ(read[(kPieces + 1) * 32 + i].w, 5 * 32 + i);
    }
  }
}

__global__ void copy_crooked(const char* from) {
  copy_async_16(dynamic_shared<char>(), from + 8);
}

TEST_F(EmulatedThreads, MayCopyOnlyWholePieces) {
  const OnGpu<char> from(64);
  launch(copy_crooked, {1, 1, 16}, stream_, from.data());
  EXPECT_THAT(failure(), HasSubstr("no multiple of 16"));
}

}  // namespace
}  // namespace sinkstream::kernels::cuda
