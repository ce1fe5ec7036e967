#include "worker/model/config_section.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/strict_json.h"
#include "base/text_file.h"
#include "worker/model/fingerprint.h"

namespace sinkstream {
namespace {

using nlohmann::json;

constexpr std::uintmax_t kLargestFile = 16u << 20;

std::string read_text(const std::filesystem::path& file) {
  if (auto text = read_text_file(file, kLargestFile)) return std::move(*text);
  throw StartupError(ExitCode::model,
                     file.string() +
                         ": no such file; a model is a directory in Hugging Face's layout, with "
                         "config.json, tokenizer.json and safetensors files");
}

}  // namespace

ConfigSection::ConfigSection(const std::filesystem::path& file)
    : object_(parse_strict_json(read_text(file), file.string())), where_(file.string() + ": ") {
  if (!object_.is_object()) throw StartupError(ExitCode::model, where_ + "not a JSON object");
}

ConfigSection::ConfigSection(json object, std::string where)
    : object_(std::move(object)), where_(std::move(where)) {}

std::uint64_t ConfigSection::fingerprint() const {
  return fingerprint_of(object_.dump());
}

bool ConfigSection::has(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

bool ConfigSection::is_null(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

const char* ConfigSection::first_of(std::initializer_list<const char*> keys) const {
  const auto found = std::ranges::find_if(keys, [this](const char* key) { return has(key); });
  return found == keys.end() ? *keys.begin() : *found;
}

const json& ConfigSection::value(const char* key) const {
  if (!has(key)) refuse(key, "missing");
  return object_.at(key);
}

ConfigSection ConfigSection::section(const char* key) const {
  const json& object = value(key);
  if (!object.is_object()) refuse(key, "must be an object");
  return {object, where_ + key + "."};
}

ConfigSection ConfigSection::section_or_empty(const char* key) const {
  return has(key) ? section(key) : ConfigSection(json::object(), where_ + key + ".");
}

std::int64_t ConfigSection::size(const char* key, std::int64_t largest) const {
  const json& number = value(key);
  const bool in_range = number.is_number_unsigned() && number.get<std::uint64_t>() >= 1 &&
                        number.get<std::uint64_t>() <= static_cast<std::uint64_t>(largest);
  if (!in_range) {
    refuse(key, "must be a whole number from 1 to " + std::to_string(largest) + ", not " +
                    printable(number.dump()));
  }
  return number.get<std::int64_t>();
}

std::int64_t ConfigSection::size_or(const char* key, std::int64_t largest, std::int64_t fallback) const {
  return has(key) ? size(key, largest) : fallback;
}

double ConfigSection::number(const char* key) const {
  const json& number = value(key);
  if (!number.is_number() || !std::isfinite(number.get<double>()) || number.get<double>() <= 0) {
    refuse(key, "must be a positive number, not " + printable(number.dump()));
  }
  return number.get<double>();
}

double ConfigSection::number_or(const char* key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool ConfigSection::is_number(const char* key) const {
  return has(key) && value(key).is_number();
}

bool ConfigSection::flag_or(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!value(key).is_boolean()) refuse(key, "must be true or false, not " + printable(value(key).dump()));
  return value(key).get<bool>();
}

std::string ConfigSection::text(const char* key) const {
  if (!value(key).is_string()) refuse(key, "must be a text, not " + printable(value(key).dump()));
  return value(key).get<std::string>();
}

std::string ConfigSection::text_or(const char* key, const std::string& fallback) const {
  return has(key) ? text(key) : fallback;
}

std::vector<TokenId> ConfigSection::tokens(const char* key, std::int64_t vocab_size) const {
  if (!has(key)) return {};
  const json list = value(key).is_array() ? value(key) : json::array({value(key)});
  std::vector<TokenId> tokens;
  for (const json& token : list) {
    if (!token.is_number_integer()) refuse(key, printable(token.dump()) + " is not a token id");
    const bool in_vocabulary = token >= 0 && token < vocab_size;
    if (in_vocabulary) tokens.push_back(token.get<TokenId>());
  }
  return tokens;
}

void ConfigSection::refuse(const std::string& key, const std::string& reason) const {
  throw StartupError(ExitCode::model, where_ + key + ": " + reason);
}

void ConfigSection::refuse_if_set(const char* key, const std::string& reason) const {
  if (!has(key)) return;
  const json& set = value(key);
  const bool asks_nothing =
      set == false || set == 0 || set == -1 || (set.is_structured() && set.empty()) || set == "";
  if (!asks_nothing) refuse(key, reason);
}

void ConfigSection::accept_only_keys(std::initializer_list<const char*> keys,
                                     const std::string& reason) const {
  for (const auto& [key, value] : object_.items()) {
    const bool known = std::find(keys.begin(), keys.end(), key) != keys.end();
    if (!known && !value.is_null()) refuse(printable(key), reason);
  }
}

void ConfigSection::accept_only(const char* key, std::initializer_list<const char*> texts) const {
  if (has(key)) require_one_of(key, text(key), texts);
}

void ConfigSection::accept_only_texts(const char* key, std::initializer_list<const char*> texts) const {
  if (!has(key)) return;
  if (!value(key).is_array()) refuse(key, "must be a list");
  for (const json& each : value(key)) {
    if (!each.is_string()) refuse(key, "must be a list of texts");
    require_one_of(key, each.get_ref<const std::string&>(), texts);
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
