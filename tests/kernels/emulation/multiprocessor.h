// Runs the threads of a grid on one thread of the host, as fibers that switch where they wait for each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/emulation/fiber.h"
#include "tests/kernels/emulation/vector_types.h"

namespace sinkstream::kernels::cuda::emulation {

inline constexpr int kLanes = 32;
inline constexpr int kMostThreads = 1024;                // of a block
inline constexpr std::size_t kMostPitch = 4096;          // a GPU's is 2 GiB: tests should meet it
inline constexpr std::size_t kMostShared = 227 << 10;    // bytes of a block that were asked for
inline constexpr std::size_t kSharedUnasked = 48 << 10;  // bytes of a block that need no asking for

// A kernel broke a rule, or threw.
class KernelFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Grid {
  dim3 blocks;
  dim3 threads;  // of a block
  std::size_t shared_bytes = 0;
  std::function<void()> kernel;  // as each thread runs it
  bool waits_for_peers = false;  // for kernels of other streams
};

// What threads of a warp or a block do together: each waits until all are there.
struct Meeting {
  const char* name;
  bool of_block;  // else of a warp
  // Called once all are there, with what each has brought, in the order of their numbers.
  void (*complete)(std::span<void* const> payloads);
};

// cp.async's of one thread that nobody has waited for.
class AsyncCopies {
 public:
  void add(void* to, const void* from, std::size_t bytes, bool wanted);
  void commit() { group_ends_.push_back(copies_.size()); }
  // Does all but those of the newest groups.
  void wait(int pending_groups);
  void clear();

 private:
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
    bool wanted;
    void make() const;
  };
  std::vector<Copy> copies_;
  std::vector<std::size_t> group_ends_;  // within copies_
  std::size_t done_ = 0;                 // copies
};

class Multiprocessor;

struct Thread {
  enum class State : std::uint8_t { ready, waiting, returned };

  Thread(int its_number, Multiprocessor& its_multiprocessor);

  const int number;  // in its block
  uint3 thread_index{};
  uint3 block_index{};
  const Grid* grid = nullptr;
  Multiprocessor& multiprocessor;
  State state = State::returned;
  const Meeting* meeting = nullptr;  // that it waits at
  void* payload = nullptr;
  std::source_location where;
  std::string failure;
  AsyncCopies copies;
  Fiber fiber;
};

// The thread of a grid that this thread of the host runs now.
extern constinit thread_local Thread* current;

// Returns when all threads of the warp or block are there.
void meet(const Meeting& meeting, void* payload, const std::source_location& where);

// In which order things happen that have none.
class Schedule {
 public:
  enum class Kind : std::uint8_t { forward, reverse, shuffled };

  // All kinds occur as numbers go up.
  explicit Schedule(std::uint64_t number);

  Kind kind() const { return kind_; }
  // The numbers below `count`, each once.
  void order(std::size_t count, std::vector<int>& numbers);
  bool chance(std::uint32_t of_hundred) { return random() % 100 < of_hundred; }
  std::uint32_t random();

 private:
  Kind kind_;
  std::uint64_t state_;
};

// One for each thread of the host, which keeps its fibers for the next grid.
class Multiprocessor {
 public:
  static Multiprocessor& of_this_thread();

  Multiprocessor();
  ~Multiprocessor();
  Multiprocessor(const Multiprocessor&) = delete;
  Multiprocessor& operator=(const Multiprocessor&) = delete;

  // Throws KernelFailure.
  void run(const Grid& grid, std::uint64_t schedule_number);
  // Only one of its blocks.
  void run_block(const Grid& grid, std::uint64_t schedule_number, int block);

  void* shared_memory();
  Schedule& schedule() { return schedule_; }

 private:
  friend struct Thread;
  friend void meet(const Meeting&, void*, const std::source_location&);

  enum class WarpState : std::uint8_t { ready, at_barrier, returned };

  void prepare(const Grid& grid, std::uint64_t schedule_number);
  void run_block(uint3 index);
  void run_warps();
  WarpState run_warp(int warp);
  void complete(std::span<Thread* const> threads);
  void* those_who_meet(const Meeting& meeting, const Thread& thread);
  [[noreturn]] void fail(const std::string& what);
  [[noreturn]] void fail_where_they_are(const std::string& what);
  std::string whereabouts(std::span<Thread* const> threads) const;
  std::span<Thread* const> threads_of(int warp) const;

  std::vector<std::unique_ptr<Thread>> pool_;
  std::vector<Thread*> threads_;  // of this block
  std::vector<void*> payloads_;
  std::vector<int> blocks_;
  std::vector<int> lanes_;
  std::vector<int> warps_;  // that can go on
  Schedule schedule_{0};
  uint3 block_index_{};
  std::size_t shared_bytes_ = 0;
  bool aborting_ = false;
  char block_begins_ = 0, block_meets_ = 0, block_ends_ = 0;  // addresses for the thread sanitizer

  struct Shared;
  std::unique_ptr<Shared> shared_;
};

// All blocks at a time, on a thread of the host each. Throws KernelFailure.
void run_together(const Grid& grid, std::uint64_t schedule_number);

// Where a kernel asks again and again for what another stream's kernel writes.
void wait_for_peers();

inline void* dynamic_shared_memory() {
  return current->multiprocessor.shared_memory();
}

}  // namespace sinkstream::kernels::cuda::emulation
