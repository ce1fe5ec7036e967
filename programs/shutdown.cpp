#include "programs/shutdown.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "base/durations.h"
#include "base/error.h"

namespace sinkstream {

void Shutdown::serve_with(Coordinator& coordinator, EngineLoop& engine, double drain_seconds) {
  const std::lock_guard lock(mutex_);
  coordinator_ = &coordinator;
  engine_ = &engine;
  drain_seconds_ = drain_seconds;
  if (asked_) start_drain();
}

void Shutdown::stop_serving() {
  std::thread drain;
  {
    const std::lock_guard lock(mutex_);
    drain = std::move(drain_thread_);  // which has stopped the engine, but may not be through yet
  }
  if (drain.joinable()) drain.join();
  const std::lock_guard lock(mutex_);
  coordinator_ = nullptr;
}

void Shutdown::drain() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(asked_, true)) return;
  if (coordinator_) {
    start_drain();
  } else {
    spdlog::info("asked to end while loading");
  }
}

void Shutdown::give_up_loading_if_asked() {
  const std::lock_guard lock(mutex_);
  if (asked_) throw StartupError(ExitCode::ok, "ended while loading, as asked");
}

void Shutdown::fail(const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (coordinator_) coordinator_->fail(message);
}

void Shutdown::start_drain() {
  spdlog::info("ending: no new requests; streams in flight have {:g} s", drain_seconds_);
  drain_thread_ = std::thread([coordinator = coordinator_, engine = engine_, seconds = drain_seconds_] {
    coordinator->begin_drain();
    if (!coordinator->wait_until_drained(std::chrono::steady_clock::now() + to_milliseconds(seconds))) {
      spdlog::warn("streams were still in flight after {:g} s; they end with an error event", seconds);
    }
    engine->stop();
  });
}

}  // namespace sinkstream
