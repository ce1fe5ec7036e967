// The `loop` variable of a for loop.
#pragma once

#include <memory>
#include <vector>

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/values/value.h"

namespace sinkstream::jinja {

// What all rounds of one loop share. Whether an item is one to take is found out when it is reached or asked
// for: what the body sets may decide it.
class LoopState {
 public:
  LoopState(Interpreter& interpreter, const For& statement, std::vector<Value> items, std::int64_t depth);

  bool has(std::size_t index);  // whether there are so many items and one more
  const Value& item(std::size_t index) const { return taken_[index]; }
  std::size_t length();
  Value run_over(const Value& items);  // the loop again, for a recursive one: what it prints

  const For& statement;
  const std::int64_t depth;                        // how many loops of a recursive one are inside each other
  int items_depth = 0;                             // the deepest item's
  std::optional<std::vector<Value>> last_changed;  // what loop.changed was last called with

 private:
  bool accepts(const Value& item);

  Interpreter& interpreter_;
  std::weak_ptr<Scope> scope_;  // around the loop
  std::vector<Value> items_;    // to choose from
  std::size_t read_ = 0;        // of items_
  std::vector<Value> taken_;
};

class Loop final : public Object {
 public:
  Loop(std::shared_ptr<LoopState> state, std::size_t index) : state_(std::move(state)), index_(index) {}
  std::string type_name() const override { return "LoopContext"; }
  std::optional<Value> attribute(std::string_view name) const override;
  int depth() const override { return state_->items_depth + 1; }
  bool callable() const override { return state_->statement.recursive; }
  Value call(Interpreter& interpreter, const Arguments& arguments) const override;

  // `self` is the loop, as a method's owner.
  static Value cycle(Interpreter& interpreter, const Value& self, const Arguments& arguments);
  static Value changed(Interpreter& interpreter, const Value& self, const Arguments& arguments);

 private:
  std::shared_ptr<LoopState> state_;
  std::size_t index_;
};

}  // namespace sinkstream::jinja
