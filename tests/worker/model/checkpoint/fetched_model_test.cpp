#include "worker/model/checkpoint/fetched_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/temporary_directory.h"
#include "worker/model/checkpoint/checkpoint.h"

namespace sinkstream {
namespace {

namespace fs = std::filesystem;
using testing::EndsWith;
using testing::HasSubstr;

// The variables that say where fetched models are, as they were again afterwards.
class FetchedModel : public testing::Test {
 protected:
  FetchedModel() {
    for (const char* name : {"SINKSTREAM_MODELS", "XDG_CACHE_HOME", "HOME"}) {
      const char* value = std::getenv(name);
      saved_.emplace_back(name, value ? std::optional<std::string>(value) : std::nullopt);
      unsetenv(name);
    }
    fs::create_directories(recipe_);
    std::ofstream(recipe_ / "fetch.json") << "{}";
    std::ofstream(recipe_ / "config.json") << "{}";
  }
  ~FetchedModel() override {
    for (const auto& [name, value] : saved_) {
      value ? setenv(name, value->c_str(), 1) : unsetenv(name);
    }
  }
  void set(const char* name, const fs::path& value) { setenv(name, value.c_str(), 1); }

  const TemporaryDirectory directory_;
  const fs::path root_ = directory_.path();
  const fs::path recipe_ = root_ / "models" / "tiny";

 private:
  std::vector<std::pair<const char*, std::optional<std::string>>> saved_;
};

TEST_F(FetchedModel, IsFoundOnceItIsThere) {
  set("SINKSTREAM_MODELS", root_ / "fetched");
  EXPECT_TRUE(is_recipe(recipe_));
  EXPECT_EQ(find_fetched(recipe_), recipe_);
  fs::create_directories(root_ / "fetched" / "tiny");
  EXPECT_EQ(find_fetched(recipe_), root_ / "fetched" / "tiny");
  EXPECT_EQ(find_fetched(recipe_ / ""), root_ / "fetched" / "tiny") << "a path may end with a slash";
}

TEST_F(FetchedModel, ADirectoryWithoutARecipeStandsForItself) {
  set("SINKSTREAM_MODELS", root_ / "fetched");
  fs::create_directories(root_ / "fetched" / "other");
  EXPECT_FALSE(is_recipe(root_ / "other"));
  EXPECT_EQ(find_fetched(root_ / "other"), root_ / "other");
}

TEST_F(FetchedModel, PlacesInTheirOrder) {
  set("HOME", "/home/jo");
  EXPECT_THAT(how_to_fetch(recipe_), EndsWith(" into /home/jo/.cache/sinkstream/models/tiny"));
  set("XDG_CACHE_HOME", "relative");
  EXPECT_THAT(how_to_fetch(recipe_), EndsWith(" into /home/jo/.cache/sinkstream/models/tiny"));
  set("XDG_CACHE_HOME", "/caches");
  EXPECT_THAT(how_to_fetch(recipe_), EndsWith(" into /caches/sinkstream/models/tiny"));
  set("SINKSTREAM_MODELS", "here");
  EXPECT_THAT(how_to_fetch(recipe_), EndsWith(" into " + (fs::current_path() / "here" / "tiny").string()));
}

TEST_F(FetchedModel, ARecipeIsNoCheckpointAndSaysHowToGetOne) {
  try {
    const Checkpoint checkpoint(recipe_);
    FAIL() << "accepted";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::model);
    EXPECT_THAT(error.what(), HasSubstr("not been fetched yet; launch/fetch-model tiny "));
  }
}

}  // namespace
}  // namespace sinkstream
