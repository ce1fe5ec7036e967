#include "base/json_field.h"

#include "base/error.h"
#include "base/strict_json.h"
#include "base/text_file.h"

namespace sinkstream {

JsonField JsonField::read_file(const std::filesystem::path& file, std::uintmax_t largest) {
  auto name = std::make_shared<const std::string>(file.string());
  const auto text = read_text_file(file, largest);
  if (!text) throw StartupError(ExitCode::model, *name + ": no such file");
  auto document = std::make_shared<const nlohmann::json>(parse_strict_json(*text, *name));
  return JsonField(std::move(document), std::move(name));
}

void JsonField::fail(const std::string& what) const {
  throw StartupError(ExitCode::model, *file_ + ": " + (path_.empty() ? "" : path_ + ": ") + what);
}

void JsonField::not_supported(const std::string& what) const {
  fail(what + " is not supported");
}

std::string JsonField::shown() const {
  return printable(value_->dump());
}

JsonField JsonField::empty_object() const {
  static const nlohmann::json empty = nlohmann::json::object();
  return child(empty, path_);
}

JsonField JsonField::child(const nlohmann::json& value, std::string path) const {
  JsonField field = *this;
  field.value_ = &value;
  field.path_ = std::move(path);
  return field;
}

JsonField JsonField::operator[](std::string_view key) const {
  static const nlohmann::json null;
  if (!value_->is_object()) fail("must be an object");
  const auto found = value_->find(key);
  return child(found == value_->end() ? null : *found, (path_.empty() ? "" : path_ + ".") + std::string(key));
}

std::vector<JsonField> JsonField::elements() const {
  if (!value_->is_array()) fail("must be an array");
  std::vector<JsonField> fields;
  fields.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) {
    fields.push_back(child((*value_)[i], path_ + "[" + std::to_string(i) + "]"));
  }
  return fields;
}

std::vector<std::pair<std::string, JsonField>> JsonField::members() const {
  if (!value_->is_object()) fail("must be an object");
  std::vector<std::pair<std::string, JsonField>> fields;
  fields.reserve(value_->size());
  for (const auto& [key, value] : value_->items()) {
    fields.emplace_back(key, child(value, (path_.empty() ? "" : path_ + ".") + key));
  }
  return fields;
}

const std::string& JsonField::string() const {
  if (!value_->is_string()) fail("must be a string");
  return value_->get_ref<const std::string&>();
}

std::string JsonField::string_or(std::string_view fallback) const {
  return is_null() ? std::string(fallback) : string();
}

bool JsonField::boolean_or(bool fallback) const {
  if (is_null()) return fallback;
  if (!value_->is_boolean()) fail("must be true or false");
  return value_->get<bool>();
}

std::int64_t JsonField::integer() const {
  const bool fits = value_->is_number_integer() &&
                    (!value_->is_number_unsigned() || value_->get<std::uint64_t>() <= INT64_MAX);
  if (!fits) fail("must be an integer");
  return value_->get<std::int64_t>();
}

double JsonField::number() const {
  if (!value_->is_number()) fail("must be a number");
  return value_->get<double>();
}

}  // namespace sinkstream
