// What each expression gives.
#include <utility>

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/syntax/syntax.h"

namespace sinkstream::jinja {
namespace {

std::vector<Value> evaluate_all(Interpreter& interpreter, const std::vector<ExpressionPtr>& expressions) {
  std::vector<Value> values;
  values.reserve(expressions.size());
  for (const ExpressionPtr& expression : expressions) values.push_back(interpreter.evaluate(*expression));
  return values;
}

Value evaluate_if_any(Interpreter& interpreter, const ExpressionPtr& expression) {
  return expression ? interpreter.evaluate(*expression) : Value();
}

}  // namespace

Value Literal::evaluate(Interpreter&) const {
  return value;
}

Value Name::evaluate(Interpreter& interpreter) const {
  return interpreter.look_up(name);
}

Value SequenceLiteral::evaluate(Interpreter& interpreter) const {
  std::vector<Value> values = evaluate_all(interpreter, items);
  return interpreter.checked(tuple ? Value::tuple(std::move(values)) : Value::list(std::move(values)));
}

Value MappingLiteral::evaluate(Interpreter& interpreter) const {
  auto mapping = std::make_shared<Mapping>();
  for (const auto& [key, value] : entries) {
    const Value name = interpreter.evaluate(*key);
    check_key(interpreter, name);
    mapping->set(name, interpreter.evaluate(*value));
  }
  return interpreter.checked(std::shared_ptr<const Mapping>(std::move(mapping)));
}

Value Unary::evaluate(Interpreter& interpreter) const {
  const Value value = interpreter.evaluate(*operand);
  if (op == Operator::logical_not) return !value.truth();
  const Value negated = negate(interpreter, value);
  return op == Operator::minus ? negated : negate(interpreter, negated);
}

Value Binary::evaluate(Interpreter& interpreter) const {
  const Value a = interpreter.evaluate(*left);
  const Value b = interpreter.evaluate(*right);
  return binary(interpreter, op, a, b);
}

Value Logical::evaluate(Interpreter& interpreter) const {
  Value value = interpreter.evaluate(*left);
  return value.truth() == is_and ? interpreter.evaluate(*right) : value;
}

Value CompareChain::evaluate(Interpreter& interpreter) const {
  Value a = interpreter.evaluate(*first);
  for (const auto& [comparison, operand] : rest) {
    Value b = interpreter.evaluate(*operand);
    if (!compare(interpreter, comparison, a, b)) return false;
    a = std::move(b);
  }
  return true;
}

Value Conditional::evaluate(Interpreter& interpreter) const {
  if (interpreter.evaluate(*test).truth()) return interpreter.evaluate(*value);
  if (otherwise) return interpreter.evaluate(*otherwise);
  return Value::undefined("the inline if-expression on line " + std::to_string(line) +
                          " evaluated to false and no else section was defined.");
}

Value Attribute::evaluate(Interpreter& interpreter) const {
  return attribute_of(interpreter, interpreter.evaluate(*object), name);
}

Value Element::evaluate(Interpreter& interpreter) const {
  const Value owner = interpreter.evaluate(*object);
  return element_of(interpreter, owner, interpreter.evaluate(*key));
}

Value Slice::evaluate(Interpreter& interpreter) const {
  const Value owner = interpreter.evaluate(*object);
  const Value from = evaluate_if_any(interpreter, start);
  const Value to = evaluate_if_any(interpreter, stop);
  return slice_of(interpreter, owner, from, to, evaluate_if_any(interpreter, step));
}

Value Call::evaluate(Interpreter& interpreter) const {
  const Value what = interpreter.evaluate(*callee);
  return interpreter.call(what, interpreter.evaluate(arguments));
}

Value Filter::evaluate(Interpreter& interpreter) const {
  const Value input = value ? interpreter.evaluate(*value) : *interpreter.filter_input_;
  return interpreter.apply_filter(name, input, interpreter.evaluate(arguments));
}

Value Test::evaluate(Interpreter& interpreter) const {
  const Value input = interpreter.evaluate(*value);
  return interpreter.apply_test(name, input, interpreter.evaluate(arguments));
}

}  // namespace sinkstream::jinja
