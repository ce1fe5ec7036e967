// What can stand after `is`.
#include <cmath>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/values/letter_case.h"

namespace sinkstream::jinja {
namespace {

template <bool (*Holds)(const Value&)>
Value kind_test(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "test", arguments, {});
  return Holds(subject);
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}

bool is_undefined(const Value& value) {
  return value.is_undefined();
}

bool is_none(const Value& value) {
  return value.is_none();
}

bool is_string(const Value& value) {
  return value.is_string();
}

bool is_mapping(const Value& value) {
  return value.is_mapping();
}

bool is_number(const Value& value) {
  return value.is_number();
}

bool is_integer(const Value& value) {
  return value.is_integer();
}

bool is_real(const Value& value) {
  return value.is_real();
}

bool is_boolean(const Value& value) {
  return value.is_boolean();
}

bool is_true(const Value& value) {
  return value.is_boolean() && value.boolean();
}

bool is_false(const Value& value) {
  return value.is_boolean() && !value.boolean();
}

bool is_callable(const Value& value) {
  return value.is_undefined() || (value.is_object() && value.object()->callable());
}

bool is_sequence(const Value& value) {
  return value.is_sequence() || value.is_mapping() || value.is_string() || value.is_undefined();
}

bool is_iterable(const Value& value) {
  const bool generates = value.is_object() && dynamic_cast<const Generator*>(value.object().get()) != nullptr;
  return is_sequence(value) || generates;
}

bool is_escaped(const Value&) {
  return false;
}

template <Comparison comparison>
Value compare_test(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "test", arguments, {"other"});
  return compare(interpreter, comparison, subject, given.value(0));
}

template <bool (*Holds)(std::string_view)>
Value text_test(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "test", arguments, {});
  return Holds(interpreter.text_of(subject));
}

bool divides(Interpreter& interpreter, const Value& value, std::int64_t by, std::int64_t remainder) {
  return equal(binary(interpreter, BinaryOperator::modulo, value, by), remainder);
}

Value is_odd(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "odd", arguments, {});
  return divides(interpreter, subject, 2, 1);
}

Value is_even(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "even", arguments, {});
  return divides(interpreter, subject, 2, 0);
}

Value is_divisible(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "divisibleby", arguments, {"num"});
  return equal(binary(interpreter, BinaryOperator::modulo, subject, given.value(0)), 0);
}

Value is_same(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "sameas", arguments, {"other"});
  return subject.same_object(given.value(0));
}

Value is_filter(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "filter", arguments, {});
  return subject.is_string() && find_filter(subject.string()) != nullptr;
}

Value is_test(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "test", arguments, {});
  return subject.is_string() && tests().contains(subject.string());
}

}  // namespace

const BuiltinTable& tests() {
  static const BuiltinTable table = {
      {"!=", compare_test<Comparison::not_equal>},
      {"<", compare_test<Comparison::less>},
      {"<=", compare_test<Comparison::less_equal>},
      {"==", compare_test<Comparison::equal>},
      {">", compare_test<Comparison::greater>},
      {">=", compare_test<Comparison::greater_equal>},
      {"boolean", kind_test<is_boolean>},
      {"callable", kind_test<is_callable>},
      {"defined", kind_test<is_defined>},
      {"divisibleby", is_divisible},
      {"eq", compare_test<Comparison::equal>},
      {"equalto", compare_test<Comparison::equal>},
      {"escaped", kind_test<is_escaped>},
      {"even", is_even},
      {"false", kind_test<is_false>},
      {"filter", is_filter},
      {"float", kind_test<is_real>},
      {"ge", compare_test<Comparison::greater_equal>},
      {"greaterthan", compare_test<Comparison::greater>},
      {"gt", compare_test<Comparison::greater>},
      {"in", compare_test<Comparison::in>},
      {"integer", kind_test<is_integer>},
      {"iterable", kind_test<is_iterable>},
      {"le", compare_test<Comparison::less_equal>},
      {"lessthan", compare_test<Comparison::less>},
      {"lower", text_test<is_all_lower>},
      {"lt", compare_test<Comparison::less>},
      {"mapping", kind_test<is_mapping>},
      {"ne", compare_test<Comparison::not_equal>},
      {"none", kind_test<is_none>},
      {"number", kind_test<is_number>},
      {"odd", is_odd},
      {"sameas", is_same},
      {"sequence", kind_test<is_sequence>},
      {"string", kind_test<is_string>},
      {"test", is_test},
      {"true", kind_test<is_true>},
      {"undefined", kind_test<is_undefined>},
      {"upper", text_test<is_all_upper>},
  };
  return table;
}

}  // namespace sinkstream::jinja
