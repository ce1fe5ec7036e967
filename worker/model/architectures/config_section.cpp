#include "worker/model/architectures/config_section.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/strict_json.h"
#include "worker/model/checkpoint/fingerprint.h"

namespace sinkstream {
namespace {

constexpr std::uintmax_t kLargestFile = 16u << 20;

JsonField read_config(const std::filesystem::path& file) {
  if (std::filesystem::symlink_status(file).type() == std::filesystem::file_type::not_found) {
    throw StartupError(ExitCode::model,
                       file.string() +
                           ": no such file; a model is a directory in Hugging Face's layout, with "
                           "config.json, tokenizer.json and safetensors files");
  }
  return JsonField::read_file(file, kLargestFile);
}

}  // namespace

ConfigSection::ConfigSection(const std::filesystem::path& file) : object_(read_config(file)) {
  if (!object_.is_object()) object_.fail("not a JSON object");
}

ConfigSection::ConfigSection(JsonField object) : object_(std::move(object)) {}

std::uint64_t ConfigSection::fingerprint() const {
  return fingerprint_of(object_.json().dump());
}

bool ConfigSection::has(const char* key) const {
  return !object_[key].is_null();
}

bool ConfigSection::is_null(const char* key) const {
  return object_.json().contains(key) && object_[key].is_null();
}

const char* ConfigSection::first_of(std::initializer_list<const char*> keys) const {
  const auto found = std::ranges::find_if(keys, [this](const char* key) { return has(key); });
  return found == keys.end() ? *keys.begin() : *found;
}

JsonField ConfigSection::value(const char* key) const {
  JsonField field = object_[key];
  if (field.is_null()) field.fail("missing");
  return field;
}

ConfigSection ConfigSection::section(const char* key) const {
  JsonField object = value(key);
  if (!object.is_object()) object.fail("must be an object");
  return ConfigSection(std::move(object));
}

ConfigSection ConfigSection::section_or_empty(const char* key) const {
  return has(key) ? section(key) : ConfigSection(object_[key].empty_object());
}

std::int64_t ConfigSection::size(const char* key, std::int64_t largest) const {
  const JsonField field = value(key);
  const nlohmann::json& number = field.json();
  const bool in_range = number.is_number_unsigned() && number.get<std::uint64_t>() >= 1 &&
                        number.get<std::uint64_t>() <= static_cast<std::uint64_t>(largest);
  if (!in_range) {
    field.fail("must be a whole number from 1 to " + std::to_string(largest) + ", not " + field.shown());
  }
  return number.get<std::int64_t>();
}

std::int64_t ConfigSection::size_or(const char* key, std::int64_t largest, std::int64_t fallback) const {
  return has(key) ? size(key, largest) : fallback;
}

double ConfigSection::number(const char* key) const {
  const JsonField field = value(key);
  if (!field.is_number() || !std::isfinite(field.number()) || field.number() <= 0) {
    field.fail("must be a positive number, not " + field.shown());
  }
  return field.number();
}

double ConfigSection::number_or(const char* key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool ConfigSection::is_number(const char* key) const {
  return object_[key].is_number();
}

bool ConfigSection::flag_or(const char* key, bool fallback) const {
  const JsonField field = object_[key];
  if (field.is_null()) return fallback;
  if (!field.is_boolean()) field.fail("must be true or false, not " + field.shown());
  return field.boolean_or(fallback);
}

std::string ConfigSection::text(const char* key) const {
  const JsonField field = value(key);
  if (!field.is_string()) field.fail("must be a text, not " + field.shown());
  return field.string();
}

std::string ConfigSection::text_or(const char* key, const std::string& fallback) const {
  return has(key) ? text(key) : fallback;
}

std::vector<TokenId> ConfigSection::tokens(const char* key, std::int64_t vocab_size) const {
  const JsonField field = object_[key];
  if (field.is_null()) return {};
  std::vector<TokenId> tokens;
  for (const JsonField& each : field.is_array() ? field.elements() : std::vector{field}) {
    const nlohmann::json& token = each.json();
    if (!token.is_number_integer()) field.fail(each.shown() + " is not a token id");
    const bool in_vocabulary = token >= 0 && token < vocab_size;
    if (in_vocabulary) tokens.push_back(token.get<TokenId>());
  }
  return tokens;
}

void ConfigSection::refuse(const std::string& key, const std::string& reason) const {
  object_[key].fail(reason);
}

void ConfigSection::refuse_if_set(const char* key, const std::string& reason) const {
  const JsonField field = object_[key];
  const nlohmann::json& set = field.json();
  const bool asks_nothing = set.is_null() || set == false || set == 0 || set == -1 ||
                            (set.is_structured() && set.empty()) || set == "";
  if (!asks_nothing) refuse(key, reason);
}

void ConfigSection::accept_only_keys(std::initializer_list<const char*> keys,
                                     const std::string& reason) const {
  for (const auto& [key, field] : object_.members()) {
    const bool known = std::find(keys.begin(), keys.end(), key) != keys.end();
    if (!known && !field.is_null()) refuse(printable(key), reason);
  }
}

void ConfigSection::accept_only(const char* key, std::initializer_list<const char*> texts) const {
  if (has(key)) require_one_of(key, text(key), texts);
}

void ConfigSection::accept_only_texts(const char* key, std::initializer_list<const char*> texts) const {
  const JsonField field = object_[key];
  if (field.is_null()) return;
  if (!field.is_array()) field.fail("must be a list");
  for (const JsonField& each : field.elements()) {
    if (!each.is_string()) field.fail("must be a list of texts");
    require_one_of(key, each.string(), texts);
  }
}

void ConfigSection::require_one_of(const char* key, const std::string& given,
                                   std::initializer_list<const char*> texts) const {
  std::string accepted;
  for (const char* const each : texts) {
    if (given == each) return;
    accepted += (accepted.empty() ? "" : ", ") + std::string(each);
  }
  refuse(key, in_quotes(given) + " is not supported; accepted: " + accepted);
}

}  // namespace sinkstream
