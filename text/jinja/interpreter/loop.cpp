#include "text/jinja/interpreter/loop.h"

#include <algorithm>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"

namespace sinkstream::jinja {

LoopState::LoopState(Interpreter& interpreter, const For& loop, std::vector<Value> items, std::int64_t level)
    : statement(loop), depth(level), interpreter_(interpreter), items_(std::move(items)) {
  for (const Value& item : items_) items_depth = std::max(items_depth, item.depth());
  scope_ = loop.recursive ? interpreter.keep_scope() : interpreter.current_scope();
}

bool LoopState::accepts(const Value& item) {
  if (!statement.condition) return true;
  const Interpreter::ScopeGuard scope(interpreter_, scope_.lock());
  interpreter_.assign(statement.target, item);
  return interpreter_.evaluate(*statement.condition).truth();
}

bool LoopState::has(std::size_t index) {
  while (taken_.size() <= index && read_ < items_.size()) {
    const Value item = items_[read_++];
    if (accepts(item)) taken_.push_back(item);
  }
  return taken_.size() > index;
}

std::size_t LoopState::length() {
  while (has(taken_.size())) {
  }
  return taken_.size();
}

Value LoopState::run_over(const Value& items) {
  const Interpreter::ScopeGuard scope(interpreter_, scope_.lock());
  return interpreter_.capture([&] { statement.run(interpreter_, items, depth + 1); });
}

std::optional<Value> Loop::attribute(std::string_view name) const {
  LoopState& state = *state_;
  if (name == "index") return Value(index_ + 1);
  if (name == "index0") return Value(index_);
  if (name == "revindex") return Value(state.length() - index_);
  if (name == "revindex0") return Value(state.length() - index_ - 1);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(!state.has(index_ + 1));
  if (name == "length") return Value(state.length());
  if (name == "depth") return Value(state.depth);
  if (name == "depth0") return Value(state.depth - 1);
  if (name == "previtem")
    return index_ == 0 ? Value::undefined("there is no previous item") : state.item(index_ - 1);
  if (name == "nextitem")
    return state.has(index_ + 1) ? state.item(index_ + 1) : Value::undefined("there is no next item");
  return std::nullopt;
}

Value Loop::call(Interpreter& interpreter, const Arguments& arguments) const {
  const Parameters given(interpreter, "loop", arguments, {"iterable"});
  return state_->run_over(given.value(0));
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
