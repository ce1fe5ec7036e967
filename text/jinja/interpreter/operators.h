// Python's operators on template values. All report what is wrong through the interpreter.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/syntax/syntax.h"
#include "text/jinja/values/value.h"

namespace sinkstream::jinja {

Value binary(Interpreter& interpreter, BinaryOperator op, const Value& a, const Value& b);
Value negate(Interpreter& interpreter, const Value& value);
bool compare(Interpreter& interpreter, Comparison comparison, const Value& a, const Value& b);
bool contains(Interpreter& interpreter, const Value& container, const Value& item);

Value attribute_of(Interpreter& interpreter, const Value& object, const std::string& name);  // object.name
Value element_of(Interpreter& interpreter, const Value& object, const Value& key);           // object[key]
Value slice_of(Interpreter& interpreter, const Value& object, const Value& start, const Value& stop,
               const Value& step);

// Fails unless a mapping can have this key; counts the work of looking for it.
void check_key(Interpreter& interpreter, const Value& key);

// A loop's items: of a list, a mapping's keys, a string's characters; nothing for undefined values. A
// generator's items are taken out of it.
std::vector<Value> items_of(Interpreter& interpreter, const Value& value);
std::optional<Value> first_of(Interpreter& interpreter, const Value& value);  // of these
std::size_t length_of(Interpreter& interpreter, const Value& value);
// Three-way, for sorting; values without an order are an error.
int order_of(Interpreter& interpreter, const Value& a, const Value& b);

}  // namespace sinkstream::jinja
