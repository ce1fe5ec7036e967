// How a group that serves comes to its end: asked to drain, or because a rank was lost.
#pragma once

#include <mutex>
#include <string>
#include <thread>

#include "coordinator/coordinator.h"
#include "worker/engine/engine_loop.h"

namespace sinkstream {

// Calls come from the signal and watchdog threads, and may come before there is a coordinator.
class Shutdown {
 public:
  // A drain that was asked for while loading begins now.
  void serve_with(Coordinator& coordinator, EngineLoop& engine, double drain_seconds);
  void stop_serving();

  // The first call begins; later ones change nothing.
  void drain();
  // Throws StartupError (ExitCode::ok) when the group was asked to end before it served.
  void give_up_loading_if_asked();

  void fail(const std::string& message);

  // Ends the use of coordinator and engine, whichever way the scope is left.
  class Serving {
   public:
    explicit Serving(Shutdown& shutdown) : shutdown_(shutdown) {}
    ~Serving() { shutdown_.stop_serving(); }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;

   private:
    Shutdown& shutdown_;
  };

 private:
  void start_drain();  // with the mutex

  std::mutex mutex_;
  bool asked_ = false;
  Coordinator* coordinator_ = nullptr;
  EngineLoop* engine_ = nullptr;
  double drain_seconds_ = 0;
  std::thread drain_thread_;
};

}  // namespace sinkstream
