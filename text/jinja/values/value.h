// Values of the template language: Python's, as far as templates need them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace sinkstream::jinja {

class Value;
class Interpreter;
struct Arguments;
struct Sequence;
class Mapping;

// A value with behaviour of its own: a function, a macro, a namespace, `loop`.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual std::optional<Value> attribute(std::string_view name) const;
  virtual bool callable() const { return false; }
  virtual int depth() const {
    return 0;
  }  // of the values in it, as Value::depth; nothing else bounds a chain
  virtual Value call(Interpreter& interpreter, const Arguments& arguments) const;  // only when callable
};

// What a missing name or attribute gives. Printing it gives nothing; using it gives its message.
struct Undefined {
  std::shared_ptr<const std::string> message;
};
struct None {};

class Value {
 public:
  Value() : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(int value) : data_(std::int64_t{value}) {}
  Value(std::int64_t value) : data_(value) {}
  Value(std::size_t value) : data_(static_cast<std::int64_t>(value)) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(std::shared_ptr<const Sequence> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Mapping> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<Object> value) : data_(std::move(value)) {}
  static Value undefined(std::string message);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_boolean() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(data_); }  // not a boolean
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_boolean() || is_integer() || is_real(); }
  bool is_string() const { return std::holds_alternative<String>(data_); }
  bool is_sequence() const { return std::holds_alternative<std::shared_ptr<const Sequence>>(data_); }
  bool is_mapping() const { return std::holds_alternative<std::shared_ptr<const Mapping>>(data_); }
  bool is_object() const { return std::holds_alternative<std::shared_ptr<Object>>(data_); }

  // Each asks for a value of that kind.
  bool boolean() const { return std::get<bool>(data_); }
  std::int64_t integer() const { return is_boolean() ? boolean() : std::get<std::int64_t>(data_); }
  double real() const { return is_real() ? std::get<double>(data_) : static_cast<double>(integer()); }
  const std::string& string() const { return *std::get<String>(data_); }
  const Sequence& sequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  const Mapping& mapping() const { return *std::get<std::shared_ptr<const Mapping>>(data_); }
  const std::shared_ptr<Object>& object() const { return std::get<std::shared_ptr<Object>>(data_); }
  const std::string& undefined_message() const { return *std::get<Undefined>(data_).message; }

  bool truth() const;
  std::string type_name() const;  // as Python's messages have it
  int depth() const;              // of nested lists and mappings
  std::int64_t weight()
      const;  // bounds the work of printing or comparing it: its items and bytes, shared ones too
  bool same_object(const Value& other) const;

 private:
  using String = std::shared_ptr<const std::string>;
  std::variant<None, Undefined, bool, std::int64_t, double, String, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Mapping>, std::shared_ptr<Object>>
      data_;
};

// A list or a tuple.
struct Sequence {
  std::vector<Value> items;
  bool tuple;
  int depth;
  std::int64_t weight;
};

// A dict: keeps the order in which keys came. Keys are strings, numbers, booleans, none, undefined or tuples
// of them.
class Mapping {
 public:
  using Entry = std::pair<Value, Value>;

  void set(const Value& key, Value value);
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  int depth() const { return depth_; }
  std::int64_t weight() const { return weight_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> by_name_;  // of keys that are strings
  std::unordered_map<std::string, std::size_t>
      by_value_;  // of the others, by what is the same for equal ones
  int depth_ = 1;
  std::int64_t weight_ = 1;
};

// What `map`, `select` and their like give: items that can be taken once, in order. It is true even when
// empty.
class Generator final : public Object {
 public:
  explicit Generator(const Sequence& items);
  std::string type_name() const override { return "generator"; }
  int depth() const override { return depth_; }

  std::optional<Value> take_next();
  std::vector<Value> take_rest();

 private:
  std::vector<Value> items_;
  std::size_t taken_ = 0;
  int depth_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

bool equal(const Value& a, const Value& b);

bool can_be_key(const Value& value);

// Python's order: negative, zero, positive; nothing when the two have no order.
std::optional<int> compare(const Value& a, const Value& b);

}  // namespace sinkstream::jinja
