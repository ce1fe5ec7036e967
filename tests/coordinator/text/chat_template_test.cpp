#include "coordinator/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "worker/error.h"

namespace sinkstream {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json read_json(const std::string& name) {
  std::ifstream file(std::string(TEST_DATA_DIR "/templates/") + name);
  return Json::parse(file);
}

const Json* tools_of(const Json& test_case) {
  const auto found = test_case.find("tools");
  return found == test_case.end() || found->is_null() ? nullptr : &*found;
}

std::string error_of(const ChatTemplate& chat, const Json& messages, const Json* tools = nullptr) {
  try {
    return "no error, but the text " + chat.render(messages, true, tools);
  } catch (const TemplateError& error) {
    return error.what();
  }
}

TEST(ChatTemplateTest, EveryPublishedCase) {
  int cases = 0;
  for (const Json& entry : read_json("cases.json")) {
    const auto chat =
        ChatTemplate::from_source(entry["chat_template"], entry["bos_token"], entry["eos_token"]);
    for (const Json& test_case : entry["cases"]) {
      SCOPED_TRACE(entry["name"].get<std::string>() + ": " + test_case["messages"].dump());
      ++cases;
      if (test_case.contains("error")) {
        EXPECT_THAT(error_of(chat, test_case["messages"], tools_of(test_case)),
                    HasSubstr(test_case["error"].get<std::string>()));
      } else {
        EXPECT_EQ(chat.render(test_case["messages"], test_case["add_generation_prompt"], tools_of(test_case)),
                  test_case["text"].get<std::string>());
      }
    }
  }
  EXPECT_EQ(cases, 78);
}

TEST(ChatTemplateTest, ErrorsHaveTheTemplatesOwnMessageAndLine) {
  const auto chat = ChatTemplate::from_source(
      "a\n{% if messages %}\n{{ raise_exception('No ' + messages[0].role) }}{% endif %}", "", "");
  EXPECT_EQ(error_of(chat, {{{"role", "cat"}}}), "No cat (chat template, line 3)");
}

TEST(ChatTemplateTest, MessagesNestedTooDeeplyAreRefused) {
  const auto chat = ChatTemplate::from_source("{{ messages }}", "", "");
  Json deep = 1;
  for (int i = 0; i < 5000; ++i) deep = Json::array({std::move(deep)});
  EXPECT_THAT(error_of(chat, deep), HasSubstr("nested too deeply"));
}

TEST(ChatTemplateTest, InvalidUtf8IsReplaced) {
  const auto chat = ChatTemplate::from_source("{{ messages[0].content[1] }}", "", "");
  EXPECT_EQ(chat.render(Json::array({{{"role", "user"}, {"content", "a\xFFz"}}}), true), "\uFFFD");
}

TEST(ChatTemplateTest, KeysStayInOrder) {
  const auto chat = ChatTemplate::from_source("{{ messages | tojson }}{{ tools | tojson }}", "", "");
  const Json messages = Json::parse(R"([{"z": 1, "a": 18446744073709551615}])");
  EXPECT_EQ(chat.render(messages, true, &messages), R"([{"z": 1, "a": 1.8446744073709552e+19}])"
                                                    R"([{"z": 1, "a": 1.8446744073709552e+19}])");
}

class ChatTemplateFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    directory_ = std::filesystem::path(::testing::TempDir()) / ("chat_template_" + name);
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }

  std::string render(const Json* tools = nullptr) const {
    return ChatTemplate::load(directory_)
        .render(Json::parse(R"([{"role": "user", "content": " Hi "}])"), true, tools);
  }

  std::string complaint() const {
    try {
      ChatTemplate::load(directory_);
      return "no complaint";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
      EXPECT_THAT(error.what(), HasSubstr(directory_.string()));
      return error.what();
    }
  }

  std::filesystem::path directory_;
};

TEST_F(ChatTemplateFilesTest, NothingAtAllGivesThePlainFormat) {
  EXPECT_EQ(render(), "User: Hi\n\nAssistant:");
}

TEST_F(ChatTemplateFilesTest, TokensAsTextOrObjects) {
  write("tokenizer_config.json", R"({"bos_token": {"content": "<b>"}, "eos_token": "<e>", "unk_token": null,
    "chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ unk_token }}"})");
  EXPECT_EQ(render(), "<b> Hi <e>");
}

TEST_F(ChatTemplateFilesTest, NamedTemplates) {
  write("tokenizer_config.json", R"({"chat_template": [
    {"name": "default", "template": "usual"}, {"name": "tool_use", "template": "with {{ tools | length }}"}]})");
  const Json tools = Json::parse(R"([{"type": "function"}])");
  EXPECT_EQ(render(), "usual");
  EXPECT_EQ(render(&tools), "with 1");
}

TEST_F(ChatTemplateFilesTest, TheTemplateFileComesFirst) {
  write("tokenizer_config.json", R"({"bos_token": "<b>", "chat_template": "old"})");
  write("chat_template.jinja", "{{ bos_token }}new");
  EXPECT_EQ(render(), "<b>new");
}

TEST_F(ChatTemplateFilesTest, BrokenFilesAreRefusedByName) {
  write("tokenizer_config.json", R"({"chat_template": "a\n{% if %}"})");
  EXPECT_THAT(complaint(), HasSubstr("tokenizer_config.json: chat template, line 2: Expected an expression"));
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THAT(complaint(), HasSubstr("chat_template: must be an array"));
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": ""}]})");
  EXPECT_THAT(complaint(), HasSubstr("no template named \"default\""));
  write("tokenizer_config.json", R"({"bos_token": 1})");
  EXPECT_THAT(complaint(), HasSubstr("bos_token"));
  write("tokenizer_config.json", "{");
  EXPECT_THAT(complaint(), HasSubstr("not valid JSON"));
  write("tokenizer_config.json", "{}");
  write("chat_template.jinja", "{{ 1 + }}");
  EXPECT_THAT(complaint(), HasSubstr("chat_template.jinja: chat template, line 1: unexpected"));
}

TEST(ChatTemplateDemoTest, TheDemoModelsOwnTemplate) {
  const auto chat = ChatTemplate::load(PROJECT_DIR "/models/demo");
  const Json messages =
      Json::parse(R"([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])");
  EXPECT_EQ(chat.render(messages, true), "<|begin|><|system|>s<|end|><|user|>u<|end|><|assistant|>");
  EXPECT_THAT(error_of(chat, Json::parse(R"([{"role": "cat", "content": ""}])")),
              HasSubstr("Unknown role: cat"));
}

}  // namespace
}  // namespace sinkstream
