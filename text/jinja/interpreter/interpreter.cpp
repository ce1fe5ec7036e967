#include "text/jinja/interpreter/interpreter.h"

#include <algorithm>
#include <utility>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/interpreter/printing.h"
#include "text/jinja/values/error.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {

class Interpreter::DepthGuard {
 public:
  explicit DepthGuard(Interpreter& interpreter) : interpreter_(interpreter), line_(interpreter.line_) {
    if (interpreter_.depth_ >= interpreter_.limits_.depth)
      interpreter_.fail("the template recurses too deeply");
    ++interpreter_.depth_;
  }
  ~DepthGuard() {
    --interpreter_.depth_;
    interpreter_.line_ = line_;
  }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  Interpreter& interpreter_;
  int line_;
};

Interpreter::ScopeGuard::ScopeGuard(Interpreter& interpreter, std::shared_ptr<Scope> outer)
    : interpreter_(interpreter), previous_(interpreter.scope_) {
  interpreter_.scope_ = std::make_shared<Scope>(Scope{std::move(outer), {}});
}

Interpreter::ScopeGuard::~ScopeGuard() {
  interpreter_.scope_ = std::move(previous_);
}

Interpreter::Interpreter(std::unordered_map<std::string, Value> context, const Limits& limits,
                         std::time_t now)
    : limits_(limits), now_(now), scope_(std::make_shared<Scope>(Scope{nullptr, std::move(context)})) {
  for (const auto& [name, builtin] : functions()) {
    scope_->names.emplace(std::string(name), make_function(builtin));
  }
}

Interpreter::~Interpreter() {
  for (const auto& space : kept_namespaces_) space->clear();
}

std::string Interpreter::render(const Template& document) {
  const ScopeGuard scope(*this);
  return capture(document.body);
}

void Interpreter::fail(const std::string& message) const {
  throw Error(message, line_);
}

void Interpreter::step() {
  if (--limits_.steps < 0) fail("the template takes too many steps");
}

void Interpreter::use(std::int64_t bytes) {
  limits_.bytes -= bytes;
  if (limits_.bytes < 0) fail("the template makes too much text");
}

Value Interpreter::checked(Value value) {
  if (value.depth() > limits_.value_depth) fail("a list or mapping is nested too deeply");
  if (value.weight() > limits_.bytes) fail("the template makes too much text");
  const std::size_t items = value.is_sequence()  ? value.sequence().items.size()
                            : value.is_mapping() ? value.mapping().entries().size()
                                                 : 0;
  use(static_cast<std::int64_t>(items * sizeof(Value)));
  return value;
}

Value Interpreter::text(std::string text) {
  use(static_cast<std::int64_t>(text.size()));
  return Value(std::move(text));
}

std::string Interpreter::text_of(const Value& value) {
  use(value.weight());
  return to_text(value);
}

Value Interpreter::replace(std::string_view text, std::string_view old, std::string_view by,
                           std::int64_t max) {
  const auto found = static_cast<std::int64_t>(count(text, old));
  const std::int64_t rounds = max < 0 ? found : std::min(max, found);
  std::int64_t added = 0;
  if (__builtin_mul_overflow(rounds, static_cast<std::int64_t>(by.size()), &added))
    fail("the template makes too much text");
  use(static_cast<std::int64_t>(text.size()) + added);
  return jinja::replace(text, old, by, max);
}

Value Interpreter::evaluate(const Expression& expression) {
  const DepthGuard guard(*this);
  step();
  line_ = expression.line;
  return expression.evaluate(*this);
}

Flow Interpreter::execute(const Block& block) {
  const DepthGuard guard(*this);
  for (const auto& statement : block) {
    step();
    line_ = statement->line;
    const Flow flow = statement->execute(*this);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

std::string Interpreter::capture(const std::function<void()>& run) {
  std::string text;
  std::string* const previous = std::exchange(output_, &text);
  run();
  output_ = previous;
  return text;
}

std::string Interpreter::capture(const Block& block) {
  return capture([&] { execute(block); });
}

void Interpreter::print(std::string_view text) {
  use(static_cast<std::int64_t>(text.size()));
  *output_ += text;
}

Value Interpreter::look_up(const std::string& name) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->outer.get()) {
    const auto found = scope->names.find(name);
    if (found != scope->names.end()) return found->second;
  }
  return Value::undefined("'" + name + "' is undefined");
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (!target.targets.empty()) {
    const std::vector<Value> items = items_of(*this, value);
    if (items.size() != target.targets.size()) {
      fail(items.size() < target.targets.size()
               ? "not enough values to unpack (expected " + std::to_string(target.targets.size()) + ", got " +
                     std::to_string(items.size()) + ")"
               : "too many values to unpack (expected " + std::to_string(target.targets.size()) + ")");
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.targets[i], items[i]);
  } else if (target.attribute.empty()) {
    define(target.name, value);
  } else {
    const Value owner = look_up(target.name);
    auto* space = owner.is_object() ? dynamic_cast<Namespace*>(owner.object().get()) : nullptr;
    if (space == nullptr) fail("cannot assign attribute on non-namespace object");
    space->set(target.attribute, value);
  }
}

Arguments Interpreter::evaluate(const CallArguments& arguments) {
  Arguments result;
  for (const ExpressionPtr& argument : arguments.positional) result.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : arguments.named) result.named.emplace_back(name, evaluate(*argument));
  if (arguments.positional_list) {
    for (Value& item : items_of(*this, evaluate(*arguments.positional_list))) {
      result.positional.push_back(std::move(item));
    }
  }
  if (arguments.named_mapping) {
    const Value mapping = evaluate(*arguments.named_mapping);
    if (!mapping.is_mapping()) fail("argument after ** must be a mapping, not " + mapping.type_name());
    for (const auto& [key, value] : mapping.mapping().entries()) {
      if (!key.is_string()) fail("keywords must be strings");
      result.named.emplace_back(key.string(), value);
    }
  }
  return result;
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) fail(callee.undefined_message());
  if (!callee.is_object() || !callee.object()->callable())
    fail("'" + callee.type_name() + "' object is not callable");
  const DepthGuard guard(*this);
  step();
  return callee.object()->call(*this, arguments);
}

Value Interpreter::apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  const Builtin filter = find_filter(name);
  if (filter == nullptr) fail("No filter named '" + name + "'.");
  return filter(*this, value, arguments);
}

bool Interpreter::apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) fail("No test named '" + name + "'.");
  return found->second(*this, value, arguments).truth();
}

Value Interpreter::filter_text(const Expression& filters, std::string text) {
  const Value input(std::move(text));
  const Value* const previous = std::exchange(filter_input_, &input);
  Value result = evaluate(filters);
  filter_input_ = previous;
  return result;
}

std::weak_ptr<Scope> Interpreter::keep_scope() {
  use(sizeof(Scope));
  kept_scopes_.push_back(scope_);
  return scope_;
}

void Interpreter::keep(std::shared_ptr<Namespace> space) {
  use(sizeof(Namespace));
  kept_namespaces_.push_back(std::move(space));
}

std::optional<Value> Namespace::attribute(std::string_view name) const {
  const auto found = attributes_.find(std::string(name));
  if (found == attributes_.end()) return std::nullopt;
  return found->second;
}

}  // namespace sinkstream::jinja
