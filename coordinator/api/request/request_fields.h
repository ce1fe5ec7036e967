// The one place that turns JSON fields into values. A field that is null counts as absent. Nothing is
// converted: "5" is no integer, 1 is no boolean. 5.0 is an integer, since to JSON it is the same number as 5,
// and some languages write it so. Every complaint names the field.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/token_id.h"
#include "coordinator/http/message/request_error.h"

namespace sinkstream {

// Both bounds are allowed values unless `above_low`.
struct NumberRange {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool above_low = false;
};

class RequestFields {
 public:
  // `path` is put before names in messages, e.g. "stream_options.". `object` must be a JSON object and stay
  // alive.
  explicit RequestFields(const nlohmann::ordered_json& object, std::string path = {});

  // Throw RequestError when the field is there and is not of that kind and range.
  std::optional<bool> boolean(const char* name);
  std::optional<std::int64_t> integer(const char* name, std::int64_t low, std::int64_t high);
  std::optional<double> number(const char* name, const NumberRange& range);
  std::optional<std::string> string(const char* name);
  std::optional<RequestFields> object(const char* name);
  const nlohmann::ordered_json* array(const char* name);  // nullptr: absent
  const nlohmann::ordered_json* value(const char* name);  // of any kind

  // Accepted without any effect here.
  void ignore(std::initializer_list<const char*> names);
  // Not supported: refused unless absent, null or this value, which means "off".
  void refuse_unless(const char* name, const nlohmann::ordered_json& off);
  // Not supported: refused unless absent, null or empty ("", [] or {}), which changes nothing.
  void refuse(std::initializer_list<const char*> names);

  // Names that none of the calls above asked for.
  std::vector<std::string> unknown() const;

  const std::string& path() const { return path_; }
  RequestError error(std::string_view name, const std::string& message,
                     const char* code = "invalid_value") const;

 private:
  const nlohmann::ordered_json& object_;
  std::string path_;
  std::set<std::string, std::less<>> known_;
};

// Elements of arrays, with the same rules; `name` is e.g. "prompt[3]".
std::int64_t integer_value(const nlohmann::ordered_json& value, std::int64_t low, std::int64_t high,
                           const std::string& name);
double number_value(const nlohmann::ordered_json& value, const NumberRange& range, const std::string& name);
// An array of token ids in [0, vocab_size); there may be millions.
std::vector<TokenId> token_id_values(const nlohmann::ordered_json& array, std::int64_t vocab_size,
                                     const std::string& name);

}  // namespace sinkstream
