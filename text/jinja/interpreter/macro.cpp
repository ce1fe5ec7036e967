#include "text/jinja/interpreter/macro.h"

#include <algorithm>
#include <utility>

namespace sinkstream::jinja {
namespace {

class Macro final : public Object {
 public:
  Macro(const MacroDefinition& definition, std::weak_ptr<Scope> scope)
      : definition_(definition), scope_(std::move(scope)) {}

  std::string type_name() const override { return "Macro"; }
  bool callable() const override { return true; }

  std::optional<Value> attribute(std::string_view name) const override {
    if (name == "name") return Value(definition_.name);
    return std::nullopt;
  }

  Value call(Interpreter& interpreter, const Arguments& arguments) const override {
    const Interpreter::ScopeGuard scope(interpreter, scope_.lock());
    Arguments rest = arguments;
    for (std::size_t i = 0; i < definition_.parameters.size(); ++i) {
      const Parameter& parameter = definition_.parameters[i];
      interpreter.define(parameter.name, argument(interpreter, parameter, i, rest));
    }
    define_rest(interpreter, rest);
    return interpreter.capture(definition_.body);
  }

 private:
  // Takes named arguments out of `arguments`.
  static Value argument(Interpreter& interpreter, const Parameter& parameter, std::size_t index,
                        Arguments& arguments) {
    if (index < arguments.positional.size()) return arguments.positional[index];
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& entry) { return entry.first == parameter.name; });
    if (named != arguments.named.end()) {
      const Value value = named->second;
      arguments.named.erase(named);
      return value;
    }
    if (parameter.fallback) return interpreter.evaluate(*parameter.fallback);
    return Value::undefined("parameter '" + parameter.name + "' was not provided");
  }

  // What the parameters did not take.
  void define_rest(Interpreter& interpreter, Arguments& rest) const {
    const std::string who = "macro '" + definition_.name + "' ";
    const std::size_t count = definition_.parameters.size();
    const auto caller = std::find_if(rest.named.begin(), rest.named.end(),
                                     [](const auto& entry) { return entry.first == "caller"; });
    if (definition_.takes_caller) {
      interpreter.define("caller",
                         caller == rest.named.end() ? Value::undefined("No caller defined") : caller->second);
      if (caller != rest.named.end()) rest.named.erase(caller);
    }
    if (definition_.takes_more_named) {
      auto mapping = std::make_shared<Mapping>();
      for (const auto& [name, value] : rest.named) mapping->set(name, value);
      interpreter.define("kwargs", interpreter.checked(std::shared_ptr<const Mapping>(std::move(mapping))));
    } else if (!rest.named.empty()) {
      interpreter.fail(who + "takes no keyword argument '" + rest.named[0].first + "'");
    }
    if (definition_.takes_more_positional) {
      std::vector<Value> more;
      for (std::size_t i = count; i < rest.positional.size(); ++i) more.push_back(rest.positional[i]);
      interpreter.define("varargs", interpreter.checked(Value::tuple(std::move(more))));
    } else if (rest.positional.size() > count) {
      interpreter.fail(who + "takes not more than " + std::to_string(count) + " argument(s)");
    }
  }

  const MacroDefinition& definition_;
  std::weak_ptr<Scope> scope_;  // kept by the interpreter: a scope holds its macros
};

}  // namespace

Value make_macro(Interpreter& interpreter, const MacroDefinition& definition) {
  return std::shared_ptr<Object>(std::make_shared<Macro>(definition, interpreter.keep_scope()));
}

}  // namespace sinkstream::jinja
