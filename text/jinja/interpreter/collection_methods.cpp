#include <algorithm>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"

namespace sinkstream::jinja {
namespace {

// These are only called on mappings.

Value get(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "get", arguments, {"key", "default"});
  check_key(interpreter, given.value(0));
  const Value* value = self.mapping().find(given.value(0));
  return value != nullptr ? *value : given.value_or(1, Value());
}

Value items(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Parameters(interpreter, "items", arguments, {});
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.mapping().entries()) pairs.push_back(Value::tuple({key, value}));
  return interpreter.checked(Value::list(std::move(pairs)));
}

Value keys(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Parameters(interpreter, "keys", arguments, {});
  std::vector<Value> result;
  for (const auto& [key, value] : self.mapping().entries()) result.push_back(key);
  return interpreter.checked(Value::list(std::move(result)));
}

Value values(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Parameters(interpreter, "values", arguments, {});
  std::vector<Value> result;
  for (const auto& [key, value] : self.mapping().entries()) result.push_back(value);
  return interpreter.checked(Value::list(std::move(result)));
}

// Values never change, so a copy is the same one.
Value copy(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Parameters(interpreter, "copy", arguments, {});
  return self;
}

// These are only called on lists and tuples.

Value count_of(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "count", arguments, {"value"});
  const auto& all = self.sequence().items;
  interpreter.use(self.weight());
  return std::count_if(all.begin(), all.end(),
                       [&given](const Value& item) { return equal(item, given.value(0)); });
}

Value index_of(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "index", arguments, {"value"});
  const auto& all = self.sequence().items;
  interpreter.use(self.weight());
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&given](const Value& item) { return equal(item, given.value(0)); });
  if (found == all.end()) interpreter.fail("the value is not in the list");
  return static_cast<std::int64_t>(found - all.begin());
}

// What would change a value is nothing that a template can get at: the sandbox of chat templates has it so.
constexpr Builtin unsafe = nullptr;

}  // namespace

const BuiltinTable& collection_methods(const Value& owner) {
  static const BuiltinTable mapping = {
      {"clear", unsafe}, {"copy", copy},      {"get", get},           {"items", items},   {"keys", keys},
      {"pop", unsafe},   {"popitem", unsafe}, {"setdefault", unsafe}, {"update", unsafe}, {"values", values},
  };
  static const BuiltinTable list = {
      {"append", unsafe}, {"clear", unsafe},   {"copy", copy},     {"count", count_of},
      {"extend", unsafe}, {"index", index_of}, {"insert", unsafe}, {"pop", unsafe},
      {"remove", unsafe}, {"reverse", unsafe}, {"sort", unsafe},
  };
  static const BuiltinTable tuple = {{"count", count_of}, {"index", index_of}};
  if (owner.is_mapping()) return mapping;
  return owner.sequence().tuple ? tuple : list;
}

}  // namespace sinkstream::jinja
