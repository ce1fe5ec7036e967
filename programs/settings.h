// The one table of settings: it reads the configuration, checks it and describes it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "programs/config.h"

namespace sinkstream {

struct SettingValue {
  std::string text;
  bool quoted = false;                  // a quoted value is text, never a number
  std::vector<std::string> items = {};  // what a list takes
};

struct Setting {
  std::string key;   // "section.name"
  std::string kind;  // what may stand there, in words
  std::string default_text;
  std::string meaning;
  // Stores the value; returns what is wrong with it, or nothing.
  std::function<std::string(Config&, const SettingValue&)> set;
  bool is_list = false;
};

const Setting* find_setting(const std::string& key);
bool is_section(const std::string& name);
// The known key (or section) with the fewest edits; empty when none is near.
std::string nearest_setting(const std::string& key);

}  // namespace sinkstream
