// The `loop` variable of a for loop.
#pragma once

#include <memory>
#include <vector>

#include "coordinator/text/jinja/value.h"

namespace sinkstream::jinja {

// What all rounds of one loop share.
struct LoopState {
  std::vector<Value> items;
  std::optional<std::vector<Value>> last_changed;  // what loop.changed was last called with
};

class Loop final : public Object {
 public:
  Loop(std::shared_ptr<LoopState> state, std::size_t index) : state_(std::move(state)), index_(index) {}
  std::string type_name() const override { return "LoopContext"; }
  std::optional<Value> attribute(std::string_view name) const override;

  // `self` is the loop, as a method's owner.
  static Value cycle(Interpreter& interpreter, const Value& self, const Arguments& arguments);
  static Value changed(Interpreter& interpreter, const Value& self, const Arguments& arguments);

 private:
  std::shared_ptr<LoopState> state_;
  std::size_t index_;
};

}  // namespace sinkstream::jinja
