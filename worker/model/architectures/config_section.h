// Reading config.json key by key. Every complaint names the file and the key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/json_field.h"
#include "base/token_id.h"

namespace sinkstream {

// A JSON object. A key whose value is null counts as absent, as `transformers` takes it.
class ConfigSection {
 public:
  // Reads a whole file. Throws StartupError (ExitCode::model), as all methods here do.
  explicit ConfigSection(const std::filesystem::path& file);

  std::uint64_t fingerprint() const;  // of the values, however they are written

  bool is_empty() const { return object_.json().empty(); }
  bool has(const char* key) const;
  bool is_null(const char* key) const;  // it is there and says null
  // The first of several names for one thing that is there; the first of all if none is.
  const char* first_of(std::initializer_list<const char*> keys) const;
  ConfigSection section(const char* key) const;
  ConfigSection section_or_empty(const char* key) const;

  std::int64_t size(const char* key, std::int64_t largest) const;  // an integer in [1, largest]
  std::int64_t size_or(const char* key, std::int64_t largest, std::int64_t fallback) const;
  double number(const char* key) const;  // finite and > 0
  double number_or(const char* key, double fallback) const;
  bool is_number(const char* key) const;
  bool flag_or(const char* key, bool fallback) const;
  std::string text(const char* key) const;
  std::string text_or(const char* key, const std::string& fallback) const;
  // One, a list or none. Ids beyond the vocabulary, which some files have, are left out: they never come.
  std::vector<TokenId> tokens(const char* key, std::int64_t vocab_size) const;

  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const;
  // Refuses a key that asks for something: is not null, false, 0, -1 or empty. Its feature changes what the
  // model computes and is not built.
  void refuse_if_set(const char* key, const std::string& reason) const;
  // Refuses any other key that is not null.
  void accept_only_keys(std::initializer_list<const char*> keys, const std::string& reason) const;
  // Refuses any other text than these.
  void accept_only(const char* key, std::initializer_list<const char*> texts) const;
  void accept_only_texts(const char* key, std::initializer_list<const char*> texts) const;  // of a list

 private:
  explicit ConfigSection(JsonField object);
  JsonField value(const char* key) const;  // throws when absent
  void require_one_of(const char* key, const std::string& given,
                      std::initializer_list<const char*> texts) const;

  JsonField object_;
};

}  // namespace sinkstream
