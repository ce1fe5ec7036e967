// Runs a template. One for each rendering; everything that a template could do without end is counted.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/syntax/syntax.h"
#include "text/jinja/values/value.h"

namespace sinkstream::jinja {

struct Limits {
  std::int64_t steps = 5'000'000;            // expressions, statements and loop rounds; about a second
  std::int64_t bytes = 256ll * 1024 * 1024;  // of all strings and lists that are made on the way
  int depth = 600;                           // of expressions and calls inside each other
  int value_depth = 200;                     // of lists and mappings inside each other
};

class Namespace;

// Names that are visible at one place; what is not here is looked for further out.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::unordered_map<std::string, Value> names;
};

class Interpreter {
 public:
  // `now` is the time that strftime_now shows.
  Interpreter(std::unordered_map<std::string, Value> context, const Limits& limits, std::time_t now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  std::string render(const Template& document);

  Value evaluate(const Expression& expression);
  Flow execute(const Block& block);
  std::string capture(const std::function<void()>& run);  // what it prints
  std::string capture(const Block& block);
  void print(std::string_view text);

  std::time_t now() const { return now_; }
  Value look_up(const std::string& name) const;
  void assign(const Target& target, const Value& value);
  Arguments evaluate(const CallArguments& arguments);
  Value call(const Value& callee, const Arguments& arguments);
  Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);
  // The text of a block through filters that were parsed without a value.
  Value filter_text(const Expression& filters, std::string text);

  [[noreturn]] void fail(const std::string& message) const;  // at the line that is being run
  void use(std::int64_t bytes);
  void step();
  Value checked(Value value);               // a new list or mapping: counted, neither too deep nor too big
  Value text(std::string text);             // a new string: counted
  std::string text_of(const Value& value);  // as printed; counted
  Value replace(std::string_view text, std::string_view old, std::string_view by,
                std::int64_t max);  // counted first

  std::weak_ptr<Scope> current_scope() const { return scope_; }
  // The same scope, which from now on lives until the end: a macro refers to it.
  std::weak_ptr<Scope> keep_scope();
  // A namespace can be made to refer to itself, so it is emptied at the end.
  void keep(std::shared_ptr<Namespace> space);

  // A scope inside the current one (or inside `outer`), until this goes.
  class ScopeGuard {
   public:
    explicit ScopeGuard(Interpreter& interpreter) : ScopeGuard(interpreter, interpreter.scope_) {}
    ScopeGuard(Interpreter& interpreter, std::shared_ptr<Scope> outer);
    ~ScopeGuard();
    ScopeGuard(const ScopeGuard&) = delete;
    ScopeGuard& operator=(const ScopeGuard&) = delete;

   private:
    Interpreter& interpreter_;
    std::shared_ptr<Scope> previous_;
  };
  void define(const std::string& name, Value value) { scope_->names[name] = std::move(value); }

 private:
  class DepthGuard;

  Limits limits_;
  const std::time_t now_;
  std::shared_ptr<Scope> scope_;
  std::string* output_ = nullptr;
  const Value* filter_input_ = nullptr;
  int line_ = 1;
  int depth_ = 0;
  std::vector<std::shared_ptr<Scope>> kept_scopes_;
  std::vector<std::shared_ptr<Namespace>> kept_namespaces_;

  friend struct Filter;
};

// {% set ns.name = value %}
class Namespace final : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  std::optional<Value> attribute(std::string_view name) const override;
  void set(const std::string& name, Value value) { attributes_[name] = std::move(value); }
  void clear() { attributes_.clear(); }

 private:
  std::unordered_map<std::string, Value> attributes_;
};

}  // namespace sinkstream::jinja
