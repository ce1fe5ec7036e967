#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <unordered_set>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/interpreter/printing.h"
#include "text/jinja/values/letter_case.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {
namespace {

using Items = std::vector<Value>;

Value list_of(Interpreter& interpreter, Items items) {
  return interpreter.checked(Value::list(std::move(items)));
}

// What can be looped over once.
Value generator_of(Interpreter& interpreter, Items items) {
  const Value list = list_of(interpreter, std::move(items));
  return std::shared_ptr<Object>(std::make_shared<Generator>(list.sequence()));
}

// "a.b.0": the attribute of the attribute of the item.
Value attribute_path(Interpreter& interpreter, Value value, const Value& path, const Value& fallback) {
  if (path.is_none()) return value;
  if (!path.is_string()) return element_of(interpreter, value, path);
  for (const std::string_view part : split(path.string(), ".", -1)) {
    interpreter.step();
    std::int64_t index = 0;
    const auto number = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        is_all_digits(part) && number.ec == std::errc() && number.ptr == part.data() + part.size();
    value = element_of(interpreter, value, is_index ? Value(index) : Value(part));
    if (value.is_undefined() && !fallback.is_none()) value = fallback;
  }
  return value;
}

Value ignore_case(Interpreter& interpreter, const Value& value) {
  return value.is_string() ? interpreter.text(to_lower(value.string())) : value;
}

// What items are compared by.
Items sort_keys(Interpreter& interpreter, const Items& items, const Value& attribute, bool case_sensitive) {
  Items keys;
  for (const Value& item : items) {
    interpreter.step();
    const Value key = attribute_path(interpreter, item, attribute, Value());
    keys.push_back(case_sensitive ? key : ignore_case(interpreter, key));
  }
  return keys;
}

Items sorted(Interpreter& interpreter, const Items& items, const Items& keys, bool reverse) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    interpreter.step();
    return reverse ? order_of(interpreter, keys[b], keys[a]) < 0
                   : order_of(interpreter, keys[a], keys[b]) < 0;
  });
  Items result;
  for (const std::size_t i : order) result.push_back(items[i]);
  return result;
}

Value sort(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  Items items = items_of(interpreter, subject);
  const Value attribute = given.value_or(2, Value());
  const bool case_sensitive = given.truth_or(1, false);
  Items keys;
  if (attribute.is_string() && attribute.string().find(',') != std::string::npos) {
    keys.resize(items.size());
    std::vector<Items> columns;
    for (const std::string_view name : split(attribute.string(), ",", -1)) {
      columns.push_back(sort_keys(interpreter, items, name, case_sensitive));
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      Items row;
      for (const Items& column : columns) row.push_back(column[i]);
      keys[i] = list_of(interpreter, std::move(row));
    }
  } else {
    keys = sort_keys(interpreter, items, attribute, case_sensitive);
  }
  return list_of(interpreter, sorted(interpreter, items, keys, given.truth_or(0, false)));
}

Value dictsort(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = given.has(1) ? given.string(1) : "key";
  if (by != "key" && by != "value") interpreter.fail("You can only sort by either \"key\" or \"value\"");
  if (!subject.is_mapping())
    interpreter.fail("'" + subject.type_name() + " object' has no attribute 'items'");
  Items items;
  for (const auto& [key, value] : subject.mapping().entries()) items.push_back(Value::tuple({key, value}));
  const Items keys = sort_keys(interpreter, items, by == "key" ? 0 : 1, given.truth_or(0, false));
  return list_of(interpreter, sorted(interpreter, items, keys, given.truth_or(2, false)));
}

Value extreme(Interpreter& interpreter, const Value& subject, const Arguments& arguments, bool largest) {
  const Parameters given(interpreter, largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const Items items = items_of(interpreter, subject);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Items keys = sort_keys(interpreter, items, given.value_or(1, Value()), given.truth_or(0, false));
  std::size_t best = 0;
  for (std::size_t i = 1; i < items.size(); ++i) {
    const int order = order_of(interpreter, keys[i], keys[best]);
    if (largest ? order > 0 : order < 0) best = i;
  }
  return items[best];
}

Value smallest(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return extreme(interpreter, subject, arguments, false);
}

Value largest(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return extreme(interpreter, subject, arguments, true);
}

Value sum(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "sum", arguments, {"attribute", "start"});
  Value total = given.value_or(1, 0);
  for (const Value& item : items_of(interpreter, subject)) {
    const Value value = attribute_path(interpreter, item, given.value_or(0, Value()), Value());
    total = binary(interpreter, BinaryOperator::add, total, value);
  }
  return total;
}

Value unique(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "unique", arguments, {"case_sensitive", "attribute"});
  const Items items = items_of(interpreter, subject);
  const Items keys = sort_keys(interpreter, items, given.value_or(1, Value()), given.truth_or(0, false));
  Mapping seen;
  Items result;
  for (std::size_t i = 0; i < items.size(); ++i) {
    check_key(interpreter, keys[i]);
    if (seen.find(keys[i]) == nullptr) result.push_back(items[i]);
    seen.set(keys[i], true);
  }
  return generator_of(interpreter, std::move(result));
}

Value group_by(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "groupby", arguments, {"attribute", "default", "case_sensitive"});
  const Value fallback = given.value_or(1, Value());
  Items keys, shown;
  const Items items = items_of(interpreter, subject);
  for (const Value& item : items) {
    shown.push_back(attribute_path(interpreter, item, given.value(0), fallback));
    keys.push_back(given.truth_or(2, false) ? shown.back() : ignore_case(interpreter, shown.back()));
  }
  Items rows;
  for (std::size_t i = 0; i < items.size(); ++i) rows.push_back(Value::tuple({keys[i], shown[i], items[i]}));
  Items groups;
  Items group;
  const Items ordered = sorted(interpreter, rows, keys, false);
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    const Items& row = ordered[i].sequence().items;
    group.push_back(row[2]);
    if (i + 1 < ordered.size() && equal(row[0], ordered[i + 1].sequence().items[0])) continue;
    const Value name = ordered[i + 1 - group.size()].sequence().items[1];
    groups.push_back(Value::tuple({name, list_of(interpreter, std::move(group))}));
    group.clear();
  }
  return list_of(interpreter, std::move(groups));
}

Value first(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "first", arguments, {});
  return first_of(interpreter, subject).value_or(Value::undefined("No first item, sequence was empty."));
}

Value last(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "last", arguments, {});
  if (subject.is_object()) interpreter.fail("'" + subject.type_name() + "' object is not reversible");
  const Items items = items_of(interpreter, subject);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value count_items(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "length", arguments, {});
  interpreter.use(subject.is_string() ? subject.weight() : 1);
  return length_of(interpreter, subject);
}

Value to_list(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "list", arguments, {});
  return list_of(interpreter, items_of(interpreter, subject));
}

Value reverse(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "reverse", arguments, {});
  Items items = items_of(interpreter, subject);
  std::reverse(items.begin(), items.end());
  if (!subject.is_string()) return generator_of(interpreter, std::move(items));
  std::string text;
  for (const Value& letter : items) text += letter.string();
  return text;
}

Value join(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "join", arguments, {"d", "attribute"});
  const std::string separator = interpreter.text_of(given.value_or(0, ""));
  std::string text;
  bool is_first = true;
  for (const Value& item : items_of(interpreter, subject)) {
    if (!is_first) text += separator;
    is_first = false;
    interpreter.use(static_cast<std::int64_t>(separator.size()));
    text += interpreter.text_of(attribute_path(interpreter, item, given.value_or(1, Value()), Value()));
  }
  return text;
}

Value items_filter(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "items", arguments, {});
  if (subject.is_undefined()) return generator_of(interpreter, {});
  if (!subject.is_mapping()) interpreter.fail("Can only get item pairs from a mapping.");
  Items items;
  for (const auto& [key, value] : subject.mapping().entries()) items.push_back(Value::tuple({key, value}));
  return generator_of(interpreter, std::move(items));
}

Value batch(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "batch", arguments, {"linecount", "fill_with"});
  const std::int64_t size = std::max<std::int64_t>(given.integer_or(0, 1), 1);
  Items rows, row;
  for (Value& item : items_of(interpreter, subject)) {
    if (static_cast<std::int64_t>(row.size()) == size)
      rows.push_back(list_of(interpreter, std::exchange(row, {})));
    row.push_back(std::move(item));
  }
  if (row.empty()) return generator_of(interpreter, std::move(rows));
  if (given.has(1) && !given.value(1).is_none()) {
    interpreter.use((size - static_cast<std::int64_t>(row.size())) *
                    static_cast<std::int64_t>(sizeof(Value)));
    row.resize(static_cast<std::size_t>(size), given.value(1));
  }
  rows.push_back(list_of(interpreter, std::move(row)));
  return generator_of(interpreter, std::move(rows));
}

// Columns of about the same length; a column that would be one shorter is filled up with `fill_with`.
Value slice(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "slice", arguments, {"slices", "fill_with"});
  given.value(0);
  const std::int64_t count = given.integer_or(0, 1);
  if (count < 1 || count > 100000) interpreter.fail("slice needs a number of slices from 1 to 100000");
  const Items items = items_of(interpreter, subject);
  const auto columns = static_cast<std::size_t>(count);
  const std::size_t longer = items.size() % columns;
  Items result;
  auto next = items.begin();
  for (std::size_t i = 0; i < columns; ++i) {
    const auto end = next + static_cast<std::ptrdiff_t>(items.size() / columns + (i < longer ? 1 : 0));
    Items column(next, end);
    next = end;
    if (given.has(1) && !given.value(1).is_none() && i >= longer) column.push_back(given.value(1));
    result.push_back(list_of(interpreter, std::move(column)));
  }
  return generator_of(interpreter, std::move(result));
}

Value map(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Items result;
  if (arguments.positional.empty()) {
    const Parameters given(interpreter, "map", arguments, {"attribute", "default"});
    if (!given.has(0)) interpreter.fail("map requires a filter argument");
    for (const Value& item : items_of(interpreter, subject)) {
      result.push_back(attribute_path(interpreter, item, given.value(0), given.value_or(1, Value())));
    }
  } else {
    const std::string name = interpreter.text_of(arguments.positional[0]);
    Arguments rest = arguments;
    rest.positional.erase(rest.positional.begin());
    for (const Value& item : items_of(interpreter, subject)) {
      interpreter.step();
      result.push_back(interpreter.apply_filter(name, item, rest));
    }
  }
  return generator_of(interpreter, std::move(result));
}

// select, reject, selectattr and rejectattr: items for which the test is `wanted`.
Value choose(Interpreter& interpreter, const Value& subject, const Arguments& arguments, bool wanted,
             bool by_attribute) {
  Arguments rest = arguments;
  const auto take_first = [&rest] {
    Value value = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    return value;
  };
  if (by_attribute && rest.positional.empty()) interpreter.fail("Missing parameter for attribute name");
  const Value attribute = by_attribute ? take_first() : Value();
  const bool tested = !rest.positional.empty();
  const std::string test = tested ? interpreter.text_of(take_first()) : "";
  Items result;
  for (Value& item : items_of(interpreter, subject)) {
    interpreter.step();
    const Value value = attribute_path(interpreter, item, attribute, Value());
    if ((tested ? interpreter.apply_test(test, value, rest) : value.truth()) == wanted)
      result.push_back(std::move(item));
  }
  return generator_of(interpreter, std::move(result));
}

template <bool wanted, bool by_attribute>
Value choose(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return choose(interpreter, subject, arguments, wanted, by_attribute);
}

}  // namespace

const BuiltinTable& sequence_filters() {
  static const BuiltinTable table = {
      {"batch", batch},
      {"count", count_items},
      {"dictsort", dictsort},
      {"first", first},
      {"groupby", group_by},
      {"items", items_filter},
      {"join", join},
      {"last", last},
      {"length", count_items},
      {"list", to_list},
      {"map", map},
      {"max", largest},
      {"min", smallest},
      {"reject", choose<false, false>},
      {"rejectattr", choose<false, true>},
      {"reverse", reverse},
      {"select", choose<true, false>},
      {"selectattr", choose<true, true>},
      {"slice", slice},
      {"sort", sort},
      {"sum", sum},
      {"unique", unique},
  };
  return table;
}

}  // namespace sinkstream::jinja
