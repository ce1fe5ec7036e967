#include "worker/model/checkpoint/fetched_model.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace sinkstream {
namespace {

namespace fs = std::filesystem;

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path home() {
  const std::string named = from_environment("HOME");
  if (!named.empty()) return named;
  const passwd* user = getpwuid(getuid());
  return user ? user->pw_dir : "/";
}

fs::path models_directory() {
  const std::string named = from_environment("SINKSTREAM_MODELS");
  if (!named.empty()) return fs::absolute(named);
  const std::string cache = from_environment("XDG_CACHE_HOME");  // which counts only when absolute
  return (cache.starts_with('/') ? fs::path(cache) : home() / ".cache") / "sinkstream" / "models";
}

std::string name_of(const fs::path& recipe) {
  const fs::path path = recipe.lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

}  // namespace

bool is_recipe(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(directory / "fetch.json", ignored);
}

fs::path find_fetched(const fs::path& directory) {
  if (!is_recipe(directory)) return directory;
  std::error_code ignored;
  const fs::path fetched = models_directory() / name_of(directory);
  return fs::is_directory(fetched, ignored) ? fetched : directory;
}

std::string how_to_fetch(const fs::path& recipe) {
  const std::string name = name_of(recipe);
  return "launch/fetch-model " + name + " fetches them, into " + (models_directory() / name).string();
}

}  // namespace sinkstream
