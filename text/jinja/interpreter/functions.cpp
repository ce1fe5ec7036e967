// The functions that every template sees.
#include <array>
#include <ctime>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/unicode/utf8.h"

namespace sinkstream::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100000;

Value range(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  const Parameters given(interpreter, "range", arguments, {"start", "stop", "step"});
  given.value(0);
  const std::int64_t start = given.has(1) ? given.integer_or(0, 0) : 0;
  const std::int64_t stop = given.has(1) ? given.integer_or(1, 0) : given.integer_or(0, 0);
  const std::int64_t step = given.integer_or(2, 1);
  if (step == 0) interpreter.fail("range() arg 3 must not be zero");
  std::vector<Value> numbers;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(numbers.size()) == kMaxRange) {
      interpreter.fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (" +
                       std::to_string(kMaxRange) + ").");
    }
    numbers.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return interpreter.checked(Value::list(std::move(numbers)));
}

void set_checked(Interpreter& interpreter, Mapping& mapping, const Value& key, const Value& value) {
  check_key(interpreter, key);
  mapping.set(key, value);
}

// The mapping or pairs that may be given, and the named arguments.
Mapping collect(Interpreter& interpreter, const char* function, const Arguments& arguments) {
  Mapping mapping;
  if (arguments.positional.size() > 1)
    interpreter.fail(std::string(function) + "() takes at most one positional argument");
  if (!arguments.positional.empty() && arguments.positional[0].is_mapping()) {
    for (const auto& [key, value] : arguments.positional[0].mapping().entries()) mapping.set(key, value);
  } else if (!arguments.positional.empty()) {
    for (const Value& item : items_of(interpreter, arguments.positional[0])) {
      const std::vector<Value> pair = items_of(interpreter, item);
      if (pair.size() != 2) interpreter.fail(std::string(function) + "() needs pairs of a key and a value");
      set_checked(interpreter, mapping, pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) mapping.set(name, value);
  return mapping;
}

Value dict(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  return interpreter.checked(
      std::shared_ptr<const Mapping>(std::make_shared<Mapping>(collect(interpreter, "dict", arguments))));
}

Value new_namespace(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  const Mapping attributes = collect(interpreter, "namespace", arguments);
  for (const auto& [key, value] : attributes.entries()) {
    space->set(interpreter.text_of(key), value);
  }
  interpreter.keep(space);
  return std::shared_ptr<Object>(std::move(space));
}

Value raise_exception(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  const Parameters given(interpreter, "raise_exception", arguments, {"message"});
  interpreter.fail(interpreter.text_of(given.value(0)));
}

// Python's strftime of a time without a zone: no %z and %Z, and %f for the microseconds.
std::string without_zone(std::string_view format) {
  std::string result;
  for (std::size_t i = 0; i < format.size(); ++i) {
    const char kind = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (kind == 'f') result += "000000";
    if (kind != 'f' && kind != 'z' && kind != 'Z') result += format[i];
    if (kind == '%') result += kind;
    if (kind == 'f' || kind == 'z' || kind == 'Z' || kind == '%') ++i;
  }
  return result;
}

Value strftime_now(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  const Parameters given(interpreter, "strftime_now", arguments, {"format"});
  const std::time_t now = interpreter.now();
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 1024> buffer;
  const std::string format = without_zone(given.string(0));
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &local);
  if (size == 0 && !format.empty())
    interpreter.fail("strftime_now() gives nothing or too much for this format");
  return to_valid_utf8(std::string_view(buffer.data(), size));
}

// A separator that is empty the first time.
class Joiner final : public Object {
 public:
  explicit Joiner(std::string separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Interpreter&, const Arguments&) const override {
    return std::exchange(used_, true) ? separator_ : "";
  }

 private:
  std::string separator_;
  mutable bool used_ = false;
};

// The next one of its values at each .next(), from the first again after the last.
class Cycler final : public Object {
 public:
  explicit Cycler(Value values) : values_(std::move(values)) {}
  std::string type_name() const override { return "Cycler"; }
  int depth() const override { return values_.depth(); }
  std::optional<Value> attribute(std::string_view name) const override {
    if (name == "current") return values_.sequence().items[at_];
    return std::nullopt;
  }

  // `self` is the cycler, as a method's owner.
  static Value next(Interpreter&, const Value& self, const Arguments&) {
    const auto& cycler = static_cast<const Cycler&>(*self.object());
    const auto& items = cycler.values_.sequence().items;
    const std::size_t current = cycler.at_;
    cycler.at_ = (current + 1) % items.size();
    return items[current];
  }
  static Value reset(Interpreter&, const Value& self, const Arguments&) {
    static_cast<const Cycler&>(*self.object()).at_ = 0;
    return {};
  }

 private:
  Value values_;
  mutable std::size_t at_ = 0;
};

Value cycler(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  if (arguments.positional.empty()) interpreter.fail("at least one item has to be provided");
  const Value values = interpreter.checked(Value::tuple(arguments.positional));
  return std::shared_ptr<Object>(std::make_shared<Cycler>(values));
}

Value joiner(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  const Parameters given(interpreter, "joiner", arguments, {"sep"});
  return std::shared_ptr<Object>(std::make_shared<Joiner>(given.has(0) ? given.string(0) : ", "));
}

}  // namespace

const BuiltinTable& cycler_methods(const Object& owner) {
  static const BuiltinTable none;
  static const BuiltinTable methods = {{"next", Cycler::next}, {"reset", Cycler::reset}};
  return dynamic_cast<const Cycler*>(&owner) != nullptr ? methods : none;
}

const BuiltinTable& functions() {
  static const BuiltinTable table = {
      {"cycler", cycler},
      {"dict", dict},
      {"joiner", joiner},
      {"namespace", new_namespace},
      {"raise_exception", raise_exception},
      {"range", range},
      {"strftime_now", strftime_now},
  };
  return table;
}

}  // namespace sinkstream::jinja
