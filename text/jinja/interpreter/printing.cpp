#include "text/jinja/interpreter/printing.h"

#include <algorithm>

#include "text/jinja/interpreter/operators.h"
#include "text/jinja/values/strings.h"
#include "text/unicode/utf8.h"

namespace sinkstream::jinja {
namespace {

std::string print_mapping(const Mapping& mapping) {
  std::string text = "{";
  for (const auto& [key, value] : mapping.entries()) {
    if (text.size() > 1) text += ", ";
    text += representation(key);
    text += ": ";
    text += representation(value);
  }
  return text += "}";
}

std::string print_sequence(const Sequence& sequence) {
  std::string text = sequence.tuple ? "(" : "[";
  for (const Value& item : sequence.items) {
    if (text.size() > 1) text += ", ";
    text += representation(item);
  }
  if (!sequence.tuple) return text += "]";
  return text += sequence.items.size() == 1 ? ",)" : ")";
}

class JsonWriter {
 public:
  JsonWriter(Interpreter& interpreter, const JsonStyle& style) : interpreter_(interpreter), style_(style) {}

  void write(const Value& value) {
    if (value.is_none()) {
      out_ += "null";
    } else if (value.is_boolean()) {
      out_ += value.boolean() ? "true" : "false";
    } else if (value.is_number()) {
      out_ += number(value);
    } else if (value.is_string()) {
      write_string(value.string());
    } else if (value.is_sequence()) {
      write_sequence(value.sequence());
    } else if (value.is_mapping()) {
      write_mapping(value.mapping());
    } else {
      interpreter_.fail("Object of type " + value.type_name() + " is not JSON serializable");
    }
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string number(const Value& value) {
    const std::string text = to_text(value);
    if (text == "nan") return "NaN";
    if (text == "inf") return "Infinity";
    return text == "-inf" ? "-Infinity" : text;
  }

  void new_line() {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
    interpreter_.use(level_ * static_cast<std::int64_t>(style_.indent->size()));
  }

  template <typename Items, typename Write>
  void enclosed(char open, char close, const Items& items, Write write_item) {
    out_ += open;
    ++level_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += style_.item_separator;
      first = false;
      new_line();
      write_item(item);
    }
    --level_;
    if (!first) new_line();
    out_ += close;
  }

  void write_sequence(const Sequence& sequence) {
    enclosed('[', ']', sequence.items, [this](const Value& item) { write(item); });
  }

  void write_mapping(const Mapping& mapping) {
    std::vector<Mapping::Entry> entries = mapping.entries();
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [this](const auto& a, const auto& b) {
        return order_of(interpreter_, a.first, b.first) < 0;
      });
    }
    enclosed('{', '}', entries, [this](const Mapping::Entry& entry) {
      write_key(entry.first);
      out_ += style_.key_separator;
      write(entry.second);
    });
  }

  void write_key(const Value& key) {
    if (key.is_string()) return write_string(key.string());
    out_ += '"';
    write(key);
    out_ += '"';
  }

  void write_escaped(char32_t c) {
    if (c < 0x10000) return append_escape(out_, 'u', 4, c);
    append_escape(out_, 'u', 4, 0xD7C0 + (c >> 10));
    append_escape(out_, 'u', 4, 0xDC00 | (c & 0x3FF));
  }

  void write_string(std::string_view text) {
    out_ += '"';
    for (const std::string_view letter : characters(text)) {
      const char32_t c = first_character(letter).code_point;
      switch (c) {
        case U'"':
          out_ += "\\\"";
          break;
        case U'\\':
          out_ += "\\\\";
          break;
        case U'\n':
          out_ += "\\n";
          break;
        case U'\r':
          out_ += "\\r";
          break;
        case U'\t':
          out_ += "\\t";
          break;
        case U'\b':
          out_ += "\\b";
          break;
        case U'\f':
          out_ += "\\f";
          break;
        default:
          if (c < 0x20 || (style_.ascii && c > 0x7E)) {
            write_escaped(c);
          } else {
            out_ += letter;
          }
      }
    }
    out_ += '"';
  }

  Interpreter& interpreter_;
  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string to_text(const Value& value) {
  if (value.is_string()) return value.string();
  if (value.is_undefined()) return "";
  return representation(value);
}

std::string representation(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is_undefined()) return "Undefined";
  if (value.is_boolean()) return value.boolean() ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.integer());
  if (value.is_real()) return format_real(value.real());
  if (value.is_string()) return repr(value.string());
  if (value.is_sequence()) return print_sequence(value.sequence());
  if (value.is_mapping()) return print_mapping(value.mapping());
  return std::string("<").append(value.type_name()).append(">");
}

std::string to_json(Interpreter& interpreter, const Value& value, const JsonStyle& style) {
  interpreter.use(value.weight());
  JsonWriter writer(interpreter, style);
  writer.write(value);
  return writer.take();
}

}  // namespace sinkstream::jinja
