#include "text/jinja/interpreter/builtins.h"

#include <algorithm>

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/loop.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {
namespace {

// A built-in function, or a method together with its owner.
class Function final : public Object {
 public:
  Function(Builtin builtin, Value owner) : builtin_(builtin), owner_(std::move(owner)) {}

  std::string type_name() const override { return owner_.is_none() ? "function" : "method"; }
  bool callable() const override { return true; }
  int depth() const override { return owner_.depth() + 1; }
  Value call(Interpreter& interpreter, const Arguments& arguments) const override {
    return builtin_(interpreter, owner_, arguments);
  }

 private:
  Builtin builtin_;
  Value owner_;
};

Value bind(Builtin builtin, Value owner) {
  return std::shared_ptr<Object>(std::make_shared<Function>(builtin, std::move(owner)));
}

const BuiltinTable& methods_of(const Value& owner) {
  static const BuiltinTable none;
  static const BuiltinTable loop = {{"cycle", Loop::cycle}, {"changed", Loop::changed}};
  if (owner.is_string()) return string_methods();
  if (owner.is_sequence() || owner.is_mapping()) return collection_methods(owner);
  if (!owner.is_object()) return none;
  return dynamic_cast<const Loop*>(owner.object().get()) != nullptr ? loop : cycler_methods(*owner.object());
}

}  // namespace

Value make_function(Builtin builtin) {
  return bind(builtin, Value());
}

std::optional<Value> find_method(const Value& owner, std::string_view name) {
  const BuiltinTable& methods = methods_of(owner);
  const auto found = methods.find(name);
  if (found == methods.end()) return std::nullopt;
  if (found->second == nullptr) {
    return Value::undefined("access to attribute " + repr(name) + " of '" + owner.type_name() +
                            "' object is unsafe.");
  }
  return bind(found->second, owner);
}

Builtin find_filter(std::string_view name) {
  for (const BuiltinTable* table : {&string_filters(), &sequence_filters(), &value_filters()}) {
    const auto found = table->find(name);
    if (found != table->end()) return found->second;
  }
  return nullptr;
}

Parameters::Parameters(Interpreter& interpreter, std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : interpreter_(interpreter), function_(function), names_(names), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    fail("takes at most " + std::to_string(names_.size()) + " argument(s) (" +
         std::to_string(arguments.positional.size()) + " given)");
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) fail("got an unexpected keyword argument " + repr(name));
    const auto index = static_cast<std::size_t>(found - names_.begin());
    if (values_[index] != nullptr) fail("got multiple values for argument " + repr(name));
    values_[index] = &value;
  }
}

void Parameters::fail(const std::string& message) const {
  interpreter_.fail(std::string(function_) + "() " + message);
}

const Value& Parameters::value(std::size_t index) const {
  if (!has(index)) fail("missing required argument " + repr(names_[index]));
  return *values_[index];
}

Value Parameters::value_or(std::size_t index, const Value& fallback) const {
  return has(index) ? *values_[index] : fallback;
}

const std::string& Parameters::string(std::size_t index) const {
  const Value& given = value(index);
  if (given.is_undefined()) interpreter_.fail(given.undefined_message());
  if (!given.is_string()) fail("argument " + repr(names_[index]) + " must be str, not " + given.type_name());
  return given.string();
}

std::int64_t Parameters::integer_or(std::size_t index, std::int64_t fallback) const {
  if (!has(index)) return fallback;
  const Value& given = value(index);
  if (given.is_undefined()) interpreter_.fail(given.undefined_message());
  if (!given.is_integer() && !given.is_boolean()) {
    fail("argument " + repr(names_[index]) + " must be int, not " + given.type_name());
  }
  return given.integer();
}

bool Parameters::truth_or(std::size_t index, bool fallback) const {
  return has(index) ? value(index).truth() : fallback;
}

}  // namespace sinkstream::jinja
