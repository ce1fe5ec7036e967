#include "programs/config.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "programs/settings.h"
#include "worker/model/checkpoint/fetched_model.h"

namespace sinkstream {
namespace {

constexpr std::uintmax_t kMaxFileBytes = 1 << 20;

// All problems are found before any is reported.
class Problems {
 public:
  void add(const std::string& where, const std::string& what) {
    text_ += (text_.empty() ? "" : "\n") + where + ": " + what;
  }
  void throw_if_any() const {
    if (!text_.empty()) throw StartupError(ExitCode::config, text_);
  }

 private:
  std::string text_;
};

std::string place(const std::filesystem::path& file, const YAML::Mark& mark) {
  return file.string() + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
}

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw StartupError(ExitCode::config, where + ": " + what);
}

std::filesystem::path installed_configurations() {
  std::error_code ignored;
  const auto binary = std::filesystem::read_symlink("/proc/self/exe", ignored);
  return binary.parent_path().parent_path() / "share" / "sinkstream" / "configs";
}

std::filesystem::path find_file(const std::string& name) {
  if (name.empty())
    throw StartupError(ExitCode::config, "--config: a file name is needed, e.g. --config demo.yaml");
  std::error_code ignored;
  if (std::filesystem::is_regular_file(name, ignored)) return name;
  const auto installed = installed_configurations() / name;
  if (!name.starts_with('/') && std::filesystem::is_regular_file(installed, ignored)) return installed;
  refuse(name, "no such file here, nor among the installed configurations (" +
                   installed.parent_path().string() + ")");
}

std::string read_file(const std::filesystem::path& file) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  if (error) refuse(file.string(), "cannot be read: " + error.message());
  if (size > kMaxFileBytes) refuse(file.string(), "is larger than 1 MiB; is it a configuration?");
  std::ifstream in(file, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in) refuse(file.string(), "cannot be read");
  if (text.starts_with("\xEF\xBB\xBF"))
    refuse(file.string() + ":1:1", "begins with a byte order mark; save it as plain UTF-8");
  if (const auto nul = text.find('\0'); nul != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(nul), '\n');
    refuse(file.string() + ":" + std::to_string(line) + ":1", "contains a NUL byte");
  }
  return text;
}

// Takes note of where a document begins, and of nothing in it.
class DocumentBegin final : public YAML::EventHandler {
 public:
  YAML::Mark mark;

  void OnDocumentStart(const YAML::Mark& begin) override { mark = begin; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}
};

// Where a second document begins, if there is one. YAML::LoadAll would look for all of them, and does not
// return from some files: it does not get past a token that no document can begin with (yaml-cpp 0.7 and
// 0.8).
std::optional<YAML::Mark> second_document(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentBegin begin;
  for (int documents = 0; documents < 2; ++documents) {
    if (!parser.HandleNextDocument(begin)) return std::nullopt;
  }
  return begin.mark;
}

YAML::Node parse(const std::filesystem::path& file, const std::string& text) {
  try {
    const YAML::Node root = YAML::Load(text);
    if (!root || root.IsNull()) {
      refuse(file.string() + ":1:1", "is empty, or not a configuration; at least model.path is needed");
    }
    if (!root.IsMap())
      refuse(place(file, root.Mark()), "must be sections with keys, e.g. \"model: {path: ...}\"");
    if (const auto second = second_document(text)) {
      refuse(place(file, *second), "a second document; a configuration is one, without \"---\"");
    }
    return root;
  } catch (const YAML::Exception& error) {
    const bool tab = text.find('\t') != text.npos;
    refuse(place(file, error.mark),
           error.msg + (tab ? " (the file holds tabs; YAML is indented by spaces)" : ""));
  }
}

std::string unknown_key(const std::string& key) {
  const std::string near = nearest_setting(key);
  return "unknown key '" + key + "'" + (near.empty() ? "" : " (did you mean '" + near + "'?)");
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// What stands where a list may: "a, b" outside of YAML's quotes is two items.
std::vector<std::string> split_items(std::string_view text) {
  std::vector<std::string> items;
  if (trim(text).empty()) return items;
  for (;;) {
    const auto comma = text.find(',');
    items.emplace_back(trim(text.substr(0, comma)));
    if (comma == text.npos) return items;
    text.remove_prefix(comma + 1);
  }
}

// nullopt: not a scalar, or, for a list, a sequence of scalars.
std::optional<SettingValue> read_value(const Setting& setting, const YAML::Node& node) {
  if (node.IsScalar()) {
    SettingValue value{node.Scalar(), node.Tag() == "!"};
    if (setting.is_list)
      value.items = value.quoted ? std::vector<std::string>{value.text} : split_items(value.text);
    return value;
  }
  if (!setting.is_list) return std::nullopt;
  if (node.IsNull()) return SettingValue{};
  if (!node.IsSequence()) return std::nullopt;
  SettingValue value;
  for (const auto& item : node) {
    if (!item.IsScalar()) return std::nullopt;
    value.items.push_back(item.Scalar());
  }
  return value;
}

// The text of an override: lists as "a,b" or, as in the file, "[a, b]".
std::optional<SettingValue> read_override(const Setting& setting, const std::string& text) {
  if (!setting.is_list) return SettingValue{text, false};
  if (!text.starts_with('[')) return SettingValue{text, false, split_items(text)};
  try {
    return read_value(setting, YAML::Load(text));
  } catch (const YAML::Exception&) {
    return std::nullopt;
  }
}

void apply(const std::string& where, const Setting& setting, const std::optional<SettingValue>& value,
           Config& config, Problems& problems) {
  if (!value) {
    const char* needed = setting.is_list ? "a list is needed, e.g. [a, b]" : "a single value is needed";
    return problems.add(where, setting.key + ": " + needed);
  }
  const std::string problem = setting.set(config, *value);
  if (!problem.empty()) problems.add(where, setting.key + ": " + problem);
}

void read_section(const std::filesystem::path& file, const std::string& section, const YAML::Node& node,
                  Config& config, Problems& problems) {
  if (!is_section(section)) return problems.add(place(file, node.Mark()), unknown_key(section));
  if (node.IsNull()) return;
  if (!node.IsMap()) return problems.add(place(file, node.Mark()), "'" + section + "' must hold keys");
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string where = place(file, entry.first.Mark());
    if (!entry.first.IsScalar()) {
      problems.add(where, "a key must be a word");
      continue;
    }
    const std::string key = section + "." + entry.first.Scalar();
    if (!seen.insert(key).second) {
      problems.add(where, "'" + key + "' is given twice");
    } else if (const Setting* setting = find_setting(key)) {
      const auto value = read_value(*setting, entry.second);
      apply(value ? place(file, entry.second.Mark()) : where, *setting, value, config, problems);
    } else {
      problems.add(where, unknown_key(key));
    }
  }
}

void read_tree(const std::filesystem::path& file, const YAML::Node& root, Config& config,
               Problems& problems) {
  std::set<std::string> seen;
  for (const auto& entry : root) {
    const std::string where = place(file, entry.first.Mark());
    if (!entry.first.IsScalar()) {
      problems.add(where, "a section's name must be a word");
    } else if (!seen.insert(entry.first.Scalar()).second) {
      problems.add(where, "section '" + entry.first.Scalar() + "' is given twice");
    } else if (!is_section(entry.first.Scalar())) {
      problems.add(where, unknown_key(entry.first.Scalar()));
    } else {
      read_section(file, entry.first.Scalar(), entry.second, config, problems);
    }
  }
}

// What no single value shows.
void check_together(const std::string& where, Config& config, Problems& problems) {
  if (config.model.path.empty()) {
    problems.add(where, "model.path is missing: the directory of the checkpoint");
  }
  const CacheSettings& cache = config.cache;
  if (cache.mode == CacheMode::sink && cache.sink_tokens > cache.max_sink_tokens) {
    problems.add(where, "cache.sink_tokens (" + std::to_string(cache.sink_tokens) +
                            ") is larger than cache.max_sink_tokens (" +
                            std::to_string(cache.max_sink_tokens) + ")");
  }
  if (config.engine.default_max_tokens > config.engine.max_tokens) {
    problems.add(where, "engine.default_max_tokens is larger than engine.max_tokens");
  }
}

// The directory's name: the one given, a link's too, unless that is "." or "..".
std::string name_of_directory(std::filesystem::path path) {
  while (path.has_relative_path() &&
         (!path.has_filename() || (path.filename() == "." && path.has_parent_path()))) {
    path = path.parent_path();
  }
  if (path.filename() == "." || path.filename() == "..") {
    std::error_code error;
    const auto resolved = std::filesystem::weakly_canonical(path, error);
    if (!error) path = resolved;
  }
  return path.has_filename() ? path.filename().string() : "model";
}

// What was typed as the model: its directory.
std::filesystem::path find_model(const std::string& name) {
  const std::filesystem::path path = name;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return path;
  const bool exists = std::filesystem::exists(path, ignored);
  const auto extension = path.extension();
  if (extension == ".yaml" || extension == ".yml")
    refuse(name, "a configuration is given as --config " + name);
  refuse(name.empty() ? "\"\"" : name,
         std::string(exists ? "a file" : "no such directory") +
             "; a model is a directory in Hugging Face's layout, with config.json, tokenizer.json and "
             "safetensors files, here on this machine");
}

Config read_config_file(const std::string& name, Problems& problems) {
  Config config;
  config.file = find_file(name);
  read_tree(config.file, parse(config.file, read_file(config.file)), config, problems);
  const auto from_here = [&](const std::filesystem::path& path) {
    return path.empty() || path.is_absolute() ? path : config.file.parent_path() / path;
  };
  config.model.path = from_here(config.model.path);
  config.server.api_key_file = from_here(config.server.api_key_file).string();
  config.sessions.directory = from_here(config.sessions.directory);
  return config;
}

}  // namespace

Config load_config(const std::optional<std::string>& file, const std::vector<std::string>& overrides,
                   const std::optional<std::string>& model) {
  Problems problems;
  Config config = file ? read_config_file(*file, problems) : Config{};
  if (model) config.model.path = find_model(*model);
  for (const auto& override_text : overrides) {
    const auto equals = override_text.find('=');
    const std::string where = "--set " + override_text;
    if (equals == std::string::npos) {
      problems.add(where, "must be section.key=value");
      continue;
    }
    const std::string key = override_text.substr(0, equals);
    if (const Setting* setting = find_setting(key)) {
      apply(where, *setting, read_override(*setting, override_text.substr(equals + 1)), config, problems);
    } else {
      problems.add(where, unknown_key(key));
    }
  }
  problems.throw_if_any();
  if (!file && config.model.path.empty()) {
    throw StartupError(
        ExitCode::config,
        "no model is named; give its directory, \"stream-worker DIRECTORY\", or a configuration, "
        "\"--config FILE\"");
  }
  config.model.path = find_fetched(config.model.path);
  check_together(file ? config.file.string() : "settings", config, problems);
  problems.throw_if_any();
  if (config.model.name.empty()) config.model.name = name_of_directory(config.model.path);
  return config;
}

}  // namespace sinkstream
