#include "coordinator/text/jinja/loop.h"

#include <algorithm>

#include "coordinator/text/jinja/interpreter.h"

namespace sinkstream::jinja {

std::optional<Value> Loop::attribute(std::string_view name) const {
  const std::vector<Value>& items = state_->items;
  if (name == "index") return Value(index_ + 1);
  if (name == "index0") return Value(index_);
  if (name == "revindex") return Value(items.size() - index_);
  if (name == "revindex0") return Value(items.size() - index_ - 1);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(index_ + 1 == items.size());
  if (name == "length") return Value(items.size());
  if (name == "depth") return Value(1);  // loops are not recursive
  if (name == "depth0") return Value(0);
  if (name == "previtem") {
    return index_ == 0 ? Value::undefined("there is no previous item") : items[index_ - 1];
  }
  if (name == "nextitem") {
    return index_ + 1 == items.size() ? Value::undefined("there is no next item") : items[index_ + 1];
  }
  return std::nullopt;
}

Value Loop::cycle(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) interpreter.fail("no items for cycling given");
  const auto& loop = static_cast<const Loop&>(*self.object());
  return arguments.positional[loop.index_ % arguments.positional.size()];
}

Value Loop::changed(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  LoopState& state = *static_cast<const Loop&>(*self.object()).state_;
  const std::vector<Value>& now = arguments.positional;
  for (const Value& value : now) interpreter.use(value.weight());
  if (state.last_changed &&
      std::equal(now.begin(), now.end(), state.last_changed->begin(), state.last_changed->end(), equal)) {
    return false;
  }
  state.last_changed = now;
  return true;
}

}  // namespace sinkstream::jinja
