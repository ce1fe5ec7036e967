// A value of a JSON file that knows its file and its place there, so that every complaint names both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream {

class JsonField {
 public:
  static constexpr std::uintmax_t kLargestFile = 512u << 20;  // large vocabularies take some 20 MiB

  // Throws StartupError (ExitCode::model) when the file cannot be read, is larger than `largest` bytes or is
  // not strict JSON (base/strict_json.h); so do all that follow when the value is not what is asked for.
  static JsonField read_file(const std::filesystem::path& file, std::uintmax_t largest = kLargestFile);

  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void not_supported(const std::string& what) const;

  bool is_null() const { return value_->is_null(); }
  bool is_string() const { return value_->is_string(); }
  bool is_array() const { return value_->is_array(); }
  bool is_object() const { return value_->is_object(); }
  bool is_number() const { return value_->is_number(); }
  bool is_boolean() const { return value_->is_boolean(); }
  const nlohmann::json& json() const { return *value_; }
  std::string shown() const;       // the value as text fit for messages
  JsonField empty_object() const;  // in its place

  JsonField operator[](std::string_view key) const;  // null when there is none; this one must be an object
  std::vector<JsonField> elements() const;           // of an array
  std::vector<std::pair<std::string, JsonField>> members() const;  // of an object

  const std::string& string() const;
  std::string string_or(std::string_view fallback) const;
  bool boolean_or(bool fallback) const;
  std::int64_t integer() const;
  double number() const;

 private:
  JsonField(std::shared_ptr<const nlohmann::json> document, std::shared_ptr<const std::string> file)
      : document_(std::move(document)), value_(document_.get()), file_(std::move(file)) {}
  JsonField child(const nlohmann::json& value, std::string path) const;

  std::shared_ptr<const nlohmann::json> document_;
  const nlohmann::json* value_;
  std::shared_ptr<const std::string> file_;
  std::string path_;
};

}  // namespace sinkstream
