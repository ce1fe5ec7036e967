#include "kernels/cpu/thread_pool.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"

namespace sinkstream::kernels {
namespace {

using Body = std::function<void(std::int64_t, std::int64_t)>;

// Loops of one step follow each other within microseconds: worth spinning for. Beyond that a thread sleeps.
constexpr std::chrono::microseconds kSpinTime{40};

// Returns the value once it differs from `old`. Changes must be notified and sequentially consistent: the
// sleeper announces itself, then looks at the value; the notifier changes it, then looks for sleepers.
std::uint32_t wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 16; ++i) {
      if (const std::uint32_t now = value.load(); now != old) return now;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  value.wait(old);
  return value.load();
}

// What one thread is to do next. `ticket` goes up when the other fields are filled in.
struct alignas(64) Worker {
  std::atomic<std::uint32_t> ticket{0};
  const Body* body = nullptr;  // null: end the thread
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::exception_ptr error;
  std::thread thread;

  void hand_over(const Body* new_body) {
    body = new_body;
    ticket.fetch_add(1);
    ticket.notify_one();
  }
};

std::exception_ptr run(const Body& body, std::int64_t begin, std::int64_t end) {
  try {
    body(begin, end);
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::unique_ptr<Worker>> workers;
  alignas(64) std::atomic<std::uint32_t> unfinished{0};  // workers busy with the current loop
  std::atomic<bool> busy{false};

  ~State() {
    for (const auto& worker : workers) {
      if (!worker->thread.joinable()) continue;
      worker->hand_over(nullptr);
      worker->thread.join();
    }
  }

  void work(Worker& worker) {
    std::uint32_t ticket = 0;
    for (;;) {
      ticket = wait_for_change(worker.ticket, ticket);
      if (worker.body == nullptr) return;
      worker.error = run(*worker.body, worker.begin, worker.end);
      if (unfinished.fetch_sub(1) == 1) unfinished.notify_one();
    }
  }

  void wait_for_workers() {
    std::uint32_t left = unfinished.load();
    while (left != 0) left = wait_for_change(unfinished, left);
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads < 1) {
    throw std::invalid_argument("ThreadPool: threads is " + std::to_string(threads) + ", must be at least 1");
  }
  for (int i = 1; i < threads; ++i) {
    Worker& worker = *state_->workers.emplace_back(std::make_unique<Worker>());
    try {
      worker.thread = std::thread([state = state_.get(), &worker] { state->work(worker); });
    } catch (const std::system_error& error) {
      throw StartupError(ExitCode::device, "cannot start " + std::to_string(threads) +
                                               " threads on this rank: " + error.code().message() +
                                               "; lower parallel.threads");
    }
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::parallel_for(std::int64_t count, std::int64_t grain, const Body& body) {
  if (count < 0 || grain < 1) {
    throw std::invalid_argument("ThreadPool: count (" + std::to_string(count) + ") must be >= 0 and grain (" +
                                std::to_string(grain) + ") >= 1");
  }
  const std::int64_t grains = count / grain + (count % grain != 0);
  const std::int64_t parts = std::min<std::int64_t>(grains, size());
  if (parts <= 1) {
    if (count > 0) body(0, count);
    return;
  }
  if (state_->busy.exchange(true)) throw std::logic_error("ThreadPool: parallel_for within parallel_for");

  const auto part_begin = [&](std::int64_t part) { return std::min(count, grains * part / parts * grain); };
  state_->unfinished = static_cast<std::uint32_t>(parts - 1);
  for (std::int64_t part = 1; part < parts; ++part) {
    Worker& worker = *state_->workers[part - 1];
    worker.begin = part_begin(part);
    worker.end = part_begin(part + 1);
    worker.hand_over(&body);
  }
  std::exception_ptr error = run(body, 0, part_begin(1));
  state_->wait_for_workers();
  for (std::int64_t part = 1; part < parts; ++part) {
    if (!error) error = state_->workers[part - 1]->error;
  }
  state_->busy = false;
  if (error) std::rethrow_exception(error);
}

}  // namespace sinkstream::kernels
