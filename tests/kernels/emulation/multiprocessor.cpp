#include "tests/kernels/emulation/multiprocessor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <string_view>
#include <thread>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

// There where the program runs under the thread sanitizer. This file is compiled without it: what the
// scheduler does is no access of a kernel's.
extern "C" {
__attribute__((weak)) void __tsan_acquire(void* address);
__attribute__((weak)) void __tsan_release(void* address);
}

namespace sinkstream::kernels::cuda::emulation {

constinit thread_local Thread* current = nullptr;

namespace {

// Ends a thread whose block has failed.
struct Aborted {};

// What happened before a publish() happened before what comes after a see() of the same.
void publish(void* address) {
  if (__tsan_release) __tsan_release(address);
}
void see(void* address) {
  if (__tsan_acquire) __tsan_acquire(address);
}

constexpr std::byte kPoison{0xff};  // NaN as a float, -1 as an integer
constexpr std::byte kGuard{0xa5};
constexpr std::size_t kGuardBytes = 64;
constexpr std::size_t kGuardBefore = 80;  // so that a block's memory is at a multiple of 16, not of 32

std::string text(uint3 index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) +
         ")";
}

bool at_the_same(const Thread& a, const Thread& b) {
  return a.state == b.state &&
         (a.state != Thread::State::waiting || (a.meeting == b.meeting && a.where.line() == b.where.line() &&
                                                a.where.column() == b.where.column()));
}

// Of one thread.
std::string whereabouts(const Thread& thread) {
  if (thread.state == Thread::State::returned) return "has returned";
  if (thread.state == Thread::State::ready) return "is on its way";
  const std::string_view file = thread.where.file_name();
  return std::string("waits at ") + thread.meeting->name + " (" +
         std::string(file.substr(file.find_last_of('/') + 1)) + ":" + std::to_string(thread.where.line()) +
         ")";
}

uint3 block_index(const Grid& grid, int block) {
  const auto number = static_cast<unsigned>(block);
  return {number % grid.blocks.x, number / grid.blocks.x % grid.blocks.y,
          number / grid.blocks.x / grid.blocks.y};
}

std::size_t number_of_blocks(const Grid& grid) {
  return std::size_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z;
}

}  // namespace

// ---- AsyncCopies

void AsyncCopies::Copy::make() const {
  if (wanted) {
    std::memcpy(to, from, bytes);
  } else {
    std::memset(to, 0, bytes);
  }
}

void AsyncCopies::add(void* to, const void* from, std::size_t bytes, bool wanted) {
  if (reinterpret_cast<std::uintptr_t>(to) % bytes != 0 ||
      (wanted && reinterpret_cast<std::uintptr_t>(from) % bytes != 0)) {
    throw KernelFailure("copy_async_" + std::to_string(bytes) + " at an address that is no multiple of " +
                        std::to_string(bytes));
  }
  copies_.push_back({to, from, bytes, wanted});
  // Some are there at once: nobody may rely on what stood in their place.
  if (current->multiprocessor.schedule().chance(25)) copies_.back().make();
}

void AsyncCopies::wait(int pending_groups) {
  const std::size_t groups = group_ends_.size();
  const auto pending = static_cast<std::size_t>(pending_groups);
  if (groups <= pending) return;
  const std::size_t end = group_ends_[groups - pending - 1];
  for (; done_ < end; ++done_) copies_[done_].make();
  if (done_ == copies_.size() && pending == 0) clear();
}

void AsyncCopies::clear() {
  copies_.clear();
  group_ends_.clear();
  done_ = 0;
}

// ---- Schedule

Schedule::Schedule(std::uint64_t number)
    : kind_(static_cast<Kind>(number % 3)), state_((number + 1) * 0x9e3779b97f4a7c15u) {}

std::uint32_t Schedule::random() {  // splitmix64 (Steele et al. 2014)
  state_ += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
}

void Schedule::order(std::size_t count, std::vector<int>& numbers) {
  numbers.resize(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  switch (kind_) {
    case Kind::forward:
      break;
    case Kind::reverse:
      std::reverse(numbers.begin(), numbers.end());
      break;
    case Kind::shuffled:
      for (std::size_t i = count; i > 1; --i) std::swap(numbers[i - 1], numbers[random() % i]);
      break;
  }
}

// ---- Threads

Thread::Thread(int its_number, Multiprocessor& its_multiprocessor)
    : number(its_number), multiprocessor(its_multiprocessor), fiber(its_number, [this] {
        see(&multiprocessor.block_begins_);
        try {
          grid->kernel();
        } catch (const Aborted&) {
        } catch (const std::exception& error) {
          failure = error.what();
        } catch (...) {
          failure = "it threw what is no exception";
        }
        state = State::returned;
        publish(&multiprocessor.block_ends_);
      }) {}

void meet(const Meeting& meeting, void* payload, const std::source_location& where) {
  if (current == nullptr) throw std::logic_error(std::string(meeting.name) + " outside a kernel");
  Thread& self = *current;
  self.meeting = &meeting;
  self.payload = payload;
  self.where = where;
  self.state = Thread::State::waiting;
  void* const those_who_meet = self.multiprocessor.those_who_meet(meeting, self);
  publish(those_who_meet);
  self.fiber.suspend();
  if (self.multiprocessor.aborting_) throw Aborted();
  see(those_who_meet);
}

// ---- Multiprocessor

// Memory of a block, guards on both sides; what isn't the block's can't be touched under asan.
struct Multiprocessor::Shared {
  alignas(64) std::array<std::byte, kGuardBefore + kMostShared + kGuardBytes> bytes;

  std::byte* begin() { return &bytes[kGuardBefore]; }
  std::span<std::byte> before() { return {bytes.data(), kGuardBefore}; }
  std::span<std::byte> after(std::size_t shared_bytes) { return {begin() + shared_bytes, kGuardBytes}; }

  void prepare(std::size_t shared_bytes) {
    ASAN_UNPOISON_MEMORY_REGION(bytes.data(), bytes.size());
    std::ranges::fill(before(), kGuard);
    std::fill_n(begin(), shared_bytes, kPoison);
    std::ranges::fill(after(shared_bytes), kGuard);
    ASAN_POISON_MEMORY_REGION(before().data(), before().size());
    ASAN_POISON_MEMORY_REGION(begin() + shared_bytes, bytes.size() - kGuardBefore - shared_bytes);
  }
  bool guards_hold(std::size_t shared_bytes) {
    ASAN_UNPOISON_MEMORY_REGION(bytes.data(), bytes.size());
    const auto is_guard = [](std::byte byte) { return byte == kGuard; };
    return std::ranges::all_of(before(), is_guard) && std::ranges::all_of(after(shared_bytes), is_guard);
  }
};

namespace {

struct Idle {
  std::mutex mutex;
  std::vector<std::unique_ptr<Multiprocessor>> all;
};
// Never gone: threads may end after all else. There from the start: the thread sanitizer does not see, in
// this file, what orders its making at the first use.
Idle* const idle = new Idle;

}  // namespace

// Making fibers takes long, under the thread sanitizer very long, and threads of the host come and go.
Multiprocessor& Multiprocessor::of_this_thread() {
  struct Lease {
    Lease() {
      const std::lock_guard lock(idle->mutex);
      if (idle->all.empty()) {
        mine = std::make_unique<Multiprocessor>();
      } else {
        mine = std::move(idle->all.back());
        idle->all.pop_back();
      }
    }
    ~Lease() {
      const std::lock_guard lock(idle->mutex);
      idle->all.push_back(std::move(mine));
    }
    std::unique_ptr<Multiprocessor> mine;
  };
  thread_local Lease lease;
  return *lease.mine;
}

Multiprocessor::Multiprocessor() : shared_(std::make_unique<Shared>()) {}

Multiprocessor::~Multiprocessor() {
  ASAN_UNPOISON_MEMORY_REGION(shared_->bytes.data(), shared_->bytes.size());
}

void* Multiprocessor::shared_memory() {
  if (shared_bytes_ == 0)
    throw KernelFailure("dynamic_shared() in a kernel that was launched without shared memory");
  return shared_->begin();
}

// An address for the thread sanitizer.
void* Multiprocessor::those_who_meet(const Meeting& meeting, const Thread& thread) {
  if (meeting.of_block) return &block_meets_;
  return threads_[static_cast<std::size_t>(thread.number / kLanes * kLanes)];
}

std::span<Thread* const> Multiprocessor::threads_of(int warp) const {
  const std::span<Thread* const> all = threads_;
  const auto first = static_cast<std::size_t>(warp) * kLanes;
  return all.subspan(first, std::min<std::size_t>(kLanes, all.size() - first));
}

void Multiprocessor::run(const Grid& grid, std::uint64_t schedule_number) {
  prepare(grid, schedule_number);
  schedule_.order(number_of_blocks(grid), blocks_);
  for (const int block : blocks_) run_block(block_index(grid, block));
}

void Multiprocessor::run_block(const Grid& grid, std::uint64_t schedule_number, int block) {
  prepare(grid, schedule_number);
  run_block(block_index(grid, block));
}

void Multiprocessor::prepare(const Grid& grid, std::uint64_t schedule_number) {
  schedule_ = Schedule(schedule_number);
  const auto count = std::size_t{grid.threads.x} * grid.threads.y * grid.threads.z;
  while (pool_.size() < count)
    pool_.push_back(std::make_unique<Thread>(static_cast<int>(pool_.size()), *this));
  threads_.clear();
  for (unsigned z = 0; z < grid.threads.z; ++z) {
    for (unsigned y = 0; y < grid.threads.y; ++y) {
      for (unsigned x = 0; x < grid.threads.x; ++x) {
        Thread& thread = *pool_[threads_.size()];
        thread.thread_index = {x, y, z};
        thread.grid = &grid;
        threads_.push_back(&thread);
      }
    }
  }
  shared_bytes_ = grid.shared_bytes;
}

void Multiprocessor::run_block(uint3 index) {
  block_index_ = index;
  shared_->prepare(shared_bytes_);
  for (Thread* const thread : threads_) {
    thread->block_index = index;
    thread->state = Thread::State::ready;
    thread->meeting = nullptr;
    thread->failure.clear();
    thread->copies.clear();
  }
  publish(&block_begins_);
  run_warps();
  see(&block_ends_);
  if (!shared_->guards_hold(shared_bytes_)) {
    fail("it wrote beside its " + std::to_string(shared_bytes_) + " bytes of dynamic shared memory");
  }
}

void Multiprocessor::run_warps() {
  const std::size_t num_warps = (threads_.size() + kLanes - 1) / kLanes;
  for (;;) {
    schedule_.order(num_warps, warps_);
    bool all_returned = true;
    while (!warps_.empty()) {
      // Forward and in reverse a warp runs as far as it can; shuffled, warps take turns.
      const std::size_t turn =
          schedule_.kind() == Schedule::Kind::shuffled ? schedule_.random() % warps_.size() : 0;
      const WarpState state = run_warp(warps_[turn]);
      if (state == WarpState::ready) continue;
      if (state == WarpState::at_barrier) all_returned = false;
      warps_.erase(warps_.begin() + static_cast<std::ptrdiff_t>(turn));
    }
    if (all_returned) return;
    for (const Thread* const thread : threads_) {
      if (!at_the_same(*thread, *threads_.front()))
        fail_where_they_are("not all threads come to the same barrier");
    }
    complete(threads_);
  }
}

Multiprocessor::WarpState Multiprocessor::run_warp(int warp) {
  const std::span<Thread* const> threads = threads_of(warp);
  schedule_.order(threads.size(), lanes_);
  for (const int lane : lanes_) {
    Thread& thread = *threads[static_cast<std::size_t>(lane)];
    if (thread.state != Thread::State::ready) continue;
    current = &thread;
    thread.fiber.resume();
    current = nullptr;
    if (!thread.failure.empty()) {
      see(&block_ends_);
      fail("thread " + text(thread.thread_index) + ": " + thread.failure);
    }
  }
  const Thread& first = *threads.front();
  for (const Thread* const thread : threads) {
    if (!at_the_same(*thread, first)) {
      fail_where_they_are("not all lanes of a warp come to the same place");
    }
  }
  if (first.state == Thread::State::returned) return WarpState::returned;
  if (first.meeting->of_block) return WarpState::at_barrier;
  if (threads.size() < kLanes) fail("a warp of fewer than 32 threads came to an intrinsic of a whole warp");
  complete(threads);
  return WarpState::ready;
}

void Multiprocessor::complete(std::span<Thread* const> threads) {
  payloads_.clear();
  for (Thread* const thread : threads) {
    payloads_.push_back(thread->payload);
    thread->state = Thread::State::ready;
  }
  threads.front()->meeting->complete(payloads_);
}

std::string Multiprocessor::whereabouts(std::span<Thread* const> threads) const {
  std::string all;
  for (std::size_t i = 0; i < threads.size();) {
    std::size_t end = i + 1;
    while (end < threads.size() && at_the_same(*threads[i], *threads[end])) ++end;
    all += (all.empty() ? "" : ", ") + ("thread " + text(threads[i]->thread_index));
    if (end > i + 1) all += " to " + text(threads[end - 1]->thread_index);
    all += " " + emulation::whereabouts(*threads[i]);
    i = end;
  }
  return all;
}

void Multiprocessor::fail_where_they_are(const std::string& what) {
  fail(what + ": " + whereabouts(threads_));
}

// Every thread of the block is brought to its end before.
void Multiprocessor::fail(const std::string& what) {
  aborting_ = true;
  for (Thread* const thread : threads_) {
    if (thread->state == Thread::State::returned || thread->meeting == nullptr) continue;  // null: not begun
    current = thread;
    thread->fiber.resume();
    current = nullptr;
  }
  aborting_ = false;
  see(&block_ends_);
  throw KernelFailure("block " + text(block_index_) + ": " + what);
}

// ---- Kernels that wait for each other

void run_together(const Grid& grid, std::uint64_t schedule_number) {
  std::vector<std::exception_ptr> failures(number_of_blocks(grid));
  const auto run_block = [&](std::size_t block) {
    try {
      Multiprocessor::of_this_thread().run_block(grid, schedule_number + block, static_cast<int>(block));
    } catch (...) {
      failures[block] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  for (std::size_t block = 1; block < failures.size(); ++block) others.emplace_back(run_block, block);
  run_block(0);
  for (std::thread& other : others) other.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

void wait_for_peers() {
  if (!current->grid->waits_for_peers)
    throw KernelFailure("it waits for peers, but was launched without waits_for_peers");
  // Mostly it is a turn of the processor that is waited for.
  thread_local unsigned times = 0;
  if (++times % 8 == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  } else {
    std::this_thread::yield();
  }
}

}  // namespace sinkstream::kernels::cuda::emulation
