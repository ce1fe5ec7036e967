// What each statement does.
#include <utility>

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/loop.h"
#include "text/jinja/interpreter/macro.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/syntax/syntax.h"

namespace sinkstream::jinja {

Flow Text::execute(Interpreter& interpreter) const {
  interpreter.print(text);
  return Flow::next;
}

Flow Print::execute(Interpreter& interpreter) const {
  const Value value = interpreter.evaluate(*expression);
  if (value.is_string()) {
    interpreter.print(value.string());
  } else {
    interpreter.print(interpreter.text_of(value));
  }
  return Flow::next;
}

Flow Set::execute(Interpreter& interpreter) const {
  interpreter.assign(target, interpreter.evaluate(*value));
  return Flow::next;
}

Flow SetBlock::execute(Interpreter& interpreter) const {
  std::string text;
  {
    const Interpreter::ScopeGuard scope(interpreter);
    text = interpreter.capture(body);
  }
  interpreter.assign(target,
                     filter ? interpreter.filter_text(*filter, std::move(text)) : Value(std::move(text)));
  return Flow::next;
}

Flow FilterBlock::execute(Interpreter& interpreter) const {
  const Interpreter::ScopeGuard scope(interpreter);
  interpreter.print(interpreter.text_of(interpreter.filter_text(*filter, interpreter.capture(body))));
  return Flow::next;
}

Flow If::execute(Interpreter& interpreter) const {
  for (const auto& [test, block] : branches) {
    if (interpreter.evaluate(*test).truth()) return interpreter.execute(block);
  }
  return interpreter.execute(otherwise);
}

Flow For::execute(Interpreter& interpreter) const {
  return run(interpreter, interpreter.evaluate(*iterable), 1);
}

Flow For::run(Interpreter& interpreter, const Value& items, std::int64_t depth) const {
  const auto state = std::make_shared<LoopState>(interpreter, *this, items_of(interpreter, items), depth);
  bool completed = false;  // any round to its end: else `else` follows, as in Jinja2
  for (std::size_t i = 0; state->has(i); ++i) {
    interpreter.step();
    const Interpreter::ScopeGuard scope(interpreter);
    interpreter.assign(target, state->item(i));
    interpreter.define("loop",
                       interpreter.checked(std::shared_ptr<Object>(std::make_shared<Loop>(state, i))));
    const Flow flow = interpreter.execute(body);
    completed = completed || flow == Flow::next;
    if (flow == Flow::leave_loop) break;
  }
  if (completed) return Flow::next;
  const Interpreter::ScopeGuard scope(interpreter);
  return interpreter.execute(otherwise);
}

Flow LoopControl::execute(Interpreter&) const {
  return flow;
}

Flow MacroDefinition::execute(Interpreter& interpreter) const {
  interpreter.define(name, make_macro(interpreter, *this));
  return Flow::next;
}

Flow CallBlock::execute(Interpreter& interpreter) const {
  const Value callee = interpreter.evaluate(*call->callee);
  Arguments arguments = interpreter.evaluate(call->arguments);
  arguments.named.emplace_back("caller", make_macro(interpreter, *caller));
  interpreter.print(interpreter.text_of(interpreter.call(callee, arguments)));
  return Flow::next;
}

Flow With::execute(Interpreter& interpreter) const {
  std::vector<Value> values;  // all of them before any name is set
  for (const auto& [target, expression] : assignments) values.push_back(interpreter.evaluate(*expression));
  const Interpreter::ScopeGuard scope(interpreter);
  for (std::size_t i = 0; i < values.size(); ++i) interpreter.assign(assignments[i].first, values[i]);
  return interpreter.execute(body);
}

}  // namespace sinkstream::jinja
