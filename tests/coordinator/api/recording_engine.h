// An engine that only notes what it is told.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace sinkstream::testing {

class RecordingEngine final : public Engine {
 public:
  const EngineLimits& limits() const override { return limits_; }
  void connect(std::shared_ptr<EventSink> new_sink) override { sink = std::move(new_sink); }
  void send(Command command) override { commands.push_back(std::move(command)); }
  EngineStats stats() const override { return {}; }

  std::shared_ptr<EventSink> sink;
  std::vector<Command> commands;

 private:
  const EngineLimits limits_;
};

}  // namespace sinkstream::testing
