// The syntax tree of a template. Every node knows its line and how deep the tree below it is.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/values/value.h"

namespace sinkstream::jinja {

class Interpreter;

struct Expression {
  explicit Expression(int at_line) : line(at_line) {}
  virtual ~Expression() = default;
  virtual Value evaluate(Interpreter& interpreter) const = 0;

  int line;
  int depth = 1;

 protected:
  void contains(const std::unique_ptr<Expression>& child) {
    if (child) depth = std::max(depth, child->depth + 1);
  }
};
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr positional_list, named_mapping;  // *a and **k
};

struct Literal final : Expression {
  Literal(int at_line, Value literal) : Expression(at_line), value(std::move(literal)) {}
  Value evaluate(Interpreter& interpreter) const override;
  Value value;
};

struct Name final : Expression {
  Name(int at_line, std::string text) : Expression(at_line), name(std::move(text)) {}
  Value evaluate(Interpreter& interpreter) const override;
  std::string name;
};

struct SequenceLiteral final : Expression {
  SequenceLiteral(int at_line, std::vector<ExpressionPtr> elements, bool is_tuple)
      : Expression(at_line), items(std::move(elements)), tuple(is_tuple) {
    for (const ExpressionPtr& item : items) contains(item);
  }
  Value evaluate(Interpreter& interpreter) const override;
  std::vector<ExpressionPtr> items;
  bool tuple;
};

struct MappingLiteral final : Expression {
  MappingLiteral(int at_line, std::vector<std::pair<ExpressionPtr, ExpressionPtr>> pairs)
      : Expression(at_line), entries(std::move(pairs)) {
    for (const auto& [key, value] : entries) {
      contains(key);
      contains(value);
    }
  }
  Value evaluate(Interpreter& interpreter) const override;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};

struct Unary final : Expression {
  enum class Operator { plus, minus, logical_not };
  Unary(int at_line, Operator what, ExpressionPtr inner)
      : Expression(at_line), op(what), operand(std::move(inner)) {
    contains(operand);
  }
  Value evaluate(Interpreter& interpreter) const override;
  Operator op;
  ExpressionPtr operand;
};

enum class BinaryOperator { add, subtract, multiply, divide, floor_divide, modulo, power, concatenate };

struct Binary final : Expression {
  Binary(int at_line, BinaryOperator what, ExpressionPtr a, ExpressionPtr b)
      : Expression(at_line), op(what), left(std::move(a)), right(std::move(b)) {
    contains(left);
    contains(right);
  }
  Value evaluate(Interpreter& interpreter) const override;
  BinaryOperator op;
  ExpressionPtr left, right;
};

struct Logical final : Expression {  // `and`, `or`: gives one of its operands
  Logical(int at_line, bool both, ExpressionPtr a, ExpressionPtr b)
      : Expression(at_line), is_and(both), left(std::move(a)), right(std::move(b)) {
    contains(left);
    contains(right);
  }
  Value evaluate(Interpreter& interpreter) const override;
  bool is_and;
  ExpressionPtr left, right;
};

enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

struct CompareChain final : Expression {  // a < b <= c
  CompareChain(int at_line, ExpressionPtr a, std::vector<std::pair<Comparison, ExpressionPtr>> others)
      : Expression(at_line), first(std::move(a)), rest(std::move(others)) {
    contains(first);
    for (const auto& [comparison, operand] : rest) contains(operand);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr first;
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
};

struct Conditional final : Expression {  // value if test else otherwise; without `else`: undefined
  Conditional(int at_line, ExpressionPtr condition, ExpressionPtr then, ExpressionPtr other)
      : Expression(at_line), test(std::move(condition)), value(std::move(then)), otherwise(std::move(other)) {
    contains(test);
    contains(value);
    contains(otherwise);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr test, value, otherwise;
};

struct Attribute final : Expression {  // object.name
  Attribute(int at_line, ExpressionPtr owner, std::string text)
      : Expression(at_line), object(std::move(owner)), name(std::move(text)) {
    contains(object);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr object;
  std::string name;
};

struct Element final : Expression {  // object[key]
  Element(int at_line, ExpressionPtr owner, ExpressionPtr index)
      : Expression(at_line), object(std::move(owner)), key(std::move(index)) {
    contains(object);
    contains(key);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr object, key;
};

struct Slice final : Expression {  // object[start:stop:step]; each may be missing
  Slice(int at_line, ExpressionPtr owner, ExpressionPtr from, ExpressionPtr to, ExpressionPtr by)
      : Expression(at_line),
        object(std::move(owner)),
        start(std::move(from)),
        stop(std::move(to)),
        step(std::move(by)) {
    contains(object);
    contains(start);
    contains(stop);
    contains(step);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr object, start, stop, step;
};

struct Invocation : Expression {  // what has arguments
  Invocation(int at_line, CallArguments given) : Expression(at_line), arguments(std::move(given)) {
    for (const ExpressionPtr& argument : arguments.positional) contains(argument);
    for (const auto& [name, argument] : arguments.named) contains(argument);
    contains(arguments.positional_list);
    contains(arguments.named_mapping);
  }
  CallArguments arguments;
};

struct Call final : Invocation {
  Call(int at_line, ExpressionPtr what, CallArguments given)
      : Invocation(at_line, std::move(given)), callee(std::move(what)) {
    contains(callee);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr callee;
};

struct Filter final : Invocation {  // value | name(arguments); no value: the text of a filter block
  Filter(int at_line, ExpressionPtr subject, std::string text, CallArguments given)
      : Invocation(at_line, std::move(given)), value(std::move(subject)), name(std::move(text)) {
    contains(value);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr value;
  std::string name;
};

struct Test final : Invocation {  // value is name(arguments)
  Test(int at_line, ExpressionPtr subject, std::string text, CallArguments given)
      : Invocation(at_line, std::move(given)), value(std::move(subject)), name(std::move(text)) {
    contains(value);
  }
  Value evaluate(Interpreter& interpreter) const override;
  ExpressionPtr value;
  std::string name;
};

// What a statement means for the loop around it.
enum class Flow { next, leave_loop, next_round };

struct Statement {
  explicit Statement(int at_line) : line(at_line) {}
  virtual ~Statement() = default;
  virtual Flow execute(Interpreter& interpreter) const = 0;
  int line;
};
using Block = std::vector<std::unique_ptr<Statement>>;

struct Text final : Statement {
  Text(int at_line, std::string content) : Statement(at_line), text(std::move(content)) {}
  Flow execute(Interpreter& interpreter) const override;
  std::string text;
};

struct Print final : Statement {
  Print(int at_line, ExpressionPtr value) : Statement(at_line), expression(std::move(value)) {}
  Flow execute(Interpreter& interpreter) const override;
  ExpressionPtr expression;
};

// Where an assignment goes: a name, a namespace's attribute, or several of them.
struct Target {
  std::string name;
  std::string attribute;        // of the namespace `name`; empty: the name itself
  std::vector<Target> targets;  // not empty: a value's items, one each
};

struct Set final : Statement {
  Set(int at_line, Target to, ExpressionPtr expression)
      : Statement(at_line), target(std::move(to)), value(std::move(expression)) {}
  Flow execute(Interpreter& interpreter) const override;
  Target target;
  ExpressionPtr value;
};

struct SetBlock final : Statement {  // the block's text, through a filter if there is one
  using Statement::Statement;
  Flow execute(Interpreter& interpreter) const override;
  Target target;
  ExpressionPtr filter;
  Block body;
};

struct FilterBlock final : Statement {
  using Statement::Statement;
  Flow execute(Interpreter& interpreter) const override;
  ExpressionPtr filter;
  Block body;
};

struct If final : Statement {
  using Statement::Statement;
  Flow execute(Interpreter& interpreter) const override;
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};

struct For final : Statement {
  using Statement::Statement;
  Flow execute(Interpreter& interpreter) const override;
  Flow run(Interpreter& interpreter, const Value& items, std::int64_t depth) const;

  Target target;
  ExpressionPtr iterable;
  ExpressionPtr condition;  // of the items to take; may be missing
  bool recursive = false;   // the body may call `loop(items)`
  Block body, otherwise;
};

struct LoopControl final : Statement {
  LoopControl(int at_line, Flow what) : Statement(at_line), flow(what) {}
  Flow execute(Interpreter& interpreter) const override;
  Flow flow;
};

struct Parameter {
  std::string name;
  ExpressionPtr fallback;  // may be missing
};

struct MacroDefinition final : Statement {
  using Statement::Statement;
  Flow execute(Interpreter& interpreter) const override;
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  bool takes_more_positional = false;  // the body speaks of `varargs`
  bool takes_more_named = false;       // of `kwargs`
  bool takes_caller = false;           // of `caller`
};

struct CallBlock final : Statement {  // {% call(parameters) macro() %}body{% endcall %}
  using Statement::Statement;
  Flow execute(Interpreter& interpreter) const override;
  std::unique_ptr<MacroDefinition> caller;
  std::unique_ptr<Call> call;
};

struct With final : Statement {  // also a plain block with a scope of its own
  using Statement::Statement;
  Flow execute(Interpreter& interpreter) const override;
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  Block body;
};

struct Template {
  Block body;
  bool loops_over_content = false;  // a message's content may be a list of parts, for all the template cares
};

}  // namespace sinkstream::jinja
