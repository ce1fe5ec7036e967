#include "base/json_field.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

class JsonFieldTest : public testing::Test {
 protected:
  JsonField read(std::string_view content, std::uintmax_t largest = JsonField::kLargestFile) {
    std::ofstream(file_, std::ios::binary) << content;
    return JsonField::read_file(file_, largest);
  }
  std::string complaint(std::string_view content) {
    return complaint_of([&] { read(content); });
  }
  template <typename Action>
  std::string complaint_of(const Action& action) {
    try {
      action();
      return "(taken)";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
      EXPECT_THAT(error.what(), testing::StartsWith(file_.string() + ": "));
      return error.what();
    }
  }

  const TemporaryDirectory directory_;
  const std::filesystem::path file_ = directory_.path() / "read.json";
};

TEST_F(JsonFieldTest, RefusesWhatParsersLetPass) {
  EXPECT_THAT(complaint(R"({"a": 1, "b": {"c": 1, "c": 1}})"), HasSubstr("the key \"c\" stands there twice"));
  EXPECT_THAT(complaint(R"([{"a": 1}, {"a": 2, "\u0061": 3}])"),
              HasSubstr("the key \"a\" stands there twice"));
  EXPECT_THAT(complaint(std::string(65, '[') + std::string(65, ']')), HasSubstr("nested too deeply"));
  EXPECT_EQ(complaint(std::string(64, '[') + std::string(64, ']')), "(taken)");
  EXPECT_THAT(complaint("{\"a\": \"\xff\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint(std::string_view("{}\0 and more", 12)), HasSubstr("NUL"));
  EXPECT_THAT(complaint("{} {}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint("{\"a\": [1, 2"), HasSubstr("it ends in the middle"));
  EXPECT_THAT(complaint("{'a': 1}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint("[NaN]"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint("[1,]"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint(""), HasSubstr("is empty"));
}

TEST_F(JsonFieldTest, RefusesFilesThatAreTooLargeOrNotThere) {
  EXPECT_THAT(complaint_of([&] { read("[1, 2, 3]", 8); }), HasSubstr("larger than"));
  EXPECT_EQ(read("[1, 2, 3]", 9).elements().size(), 3u);
  std::filesystem::remove(file_);
  EXPECT_THAT(complaint_of([&] { JsonField::read_file(file_); }), EndsWith("no such file"));
}

TEST_F(JsonFieldTest, ComplaintsNameThePlace) {
  const JsonField root = read(R"({"a": {"list": [0, {"b": "text"}]}, "large": 18446744073709551615})");
  const JsonField b = root["a"]["list"].elements()[1]["b"];
  EXPECT_EQ(b.string(), "text");
  EXPECT_THAT(complaint_of([&] { b.integer(); }), EndsWith(".json: a.list[1].b: must be an integer"));
  EXPECT_THAT(complaint_of([&] { root["large"].integer(); }), EndsWith("large: must be an integer"));
  EXPECT_THAT(complaint_of([&] { root["a"].string(); }), EndsWith("a: must be a string"));
  EXPECT_THAT(complaint_of([&] { root["a"].elements(); }), EndsWith("a: must be an array"));
  EXPECT_THAT(complaint_of([&] { b["c"]; }), EndsWith("a.list[1].b: must be an object"));
  EXPECT_THAT(complaint_of([&] { root["absent"].empty_object()["c"].string(); }),
              EndsWith("absent.c: must be a string"));
}

TEST_F(JsonFieldTest, ReadsValues) {
  const JsonField root = read(R"({"flag": true, "none": null, "half": 0.5, "names": {"x": 1, "y": 2}})");
  EXPECT_TRUE(root["flag"].boolean_or(false));
  EXPECT_TRUE(root["none"].boolean_or(true));
  EXPECT_TRUE(root["absent"].is_null());
  EXPECT_EQ(root["half"].number(), 0.5);
  std::vector<std::string> names;
  for (const auto& [name, value] : root["names"].members()) names.push_back(name + "=" + value.shown());
  EXPECT_THAT(names, ElementsAre("x=1", "y=2"));
}

}  // namespace
}  // namespace sinkstream
