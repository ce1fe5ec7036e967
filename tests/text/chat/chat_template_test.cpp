#include "text/chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "tests/paths.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json read_json(const std::string& name) {
  std::ifstream file(test_data_dir() / "templates" / name);
  return Json::parse(file);
}

const Json* tools_of(const Json& test_case) {
  const auto found = test_case.find("tools");
  return found == test_case.end() || found->is_null() ? nullptr : &*found;
}

ChatTemplate from_source(const std::string& source, const std::string& bos_token = "",
                         const std::string& eos_token = "") {
  TemplateSources sources;
  sources.usual = source;
  sources.special_tokens = {{"bos_token", bos_token}, {"eos_token", eos_token}};
  return ChatTemplate(sources);
}

std::string render(const ChatTemplate& chat, const Json& messages, bool add_generation_prompt = true,
                   const Json* tools = nullptr) {
  return chat.render({.messages = messages, .tools = tools, .add_generation_prompt = add_generation_prompt});
}

std::string error_of(const ChatTemplate& chat, const Json& messages, const Json* tools = nullptr) {
  try {
    return "no error, but the text " + render(chat, messages, true, tools);
  } catch (const TemplateError& error) {
    return error.what();
  }
}

TEST(ChatTemplateTest, EveryPublishedCase) {
  int cases = 0;
  for (const Json& entry : read_json("cases.json")) {
    const auto chat = from_source(entry["chat_template"], entry["bos_token"], entry["eos_token"]);
    for (const Json& test_case : entry["cases"]) {
      SCOPED_TRACE(entry["name"].get<std::string>() + ": " + test_case["messages"].dump());
      ++cases;
      if (test_case.contains("error")) {
        EXPECT_THAT(error_of(chat, test_case["messages"], tools_of(test_case)),
                    HasSubstr(test_case["error"].get<std::string>()));
      } else {
        EXPECT_EQ(
            render(chat, test_case["messages"], test_case["add_generation_prompt"], tools_of(test_case)),
            test_case["text"].get<std::string>());
      }
    }
  }
  EXPECT_EQ(cases, 78);
}

// Written by tools/check_templates.py: each template over all conversations.
TEST(ChatTemplateTest, EveryTemplateFileAsTransformersRendersIt) {
  const Json golden = read_json("published_cases.json");
  int cases = 0;
  for (const Json& entry : golden["templates"]) {
    std::ifstream file(test_data_dir() / "templates/published" / entry["file"].get<std::string>());
    TemplateSources sources;
    sources.usual.assign(std::istreambuf_iterator<char>(file), {});
    for (const auto& [name, token] : golden["special_tokens"].items()) sources.special_tokens[name] = token;
    const ChatTemplate chat(sources);
    for (const Json& test_case : entry["cases"]) {
      const Json& conversation = golden["conversations"][test_case["conversation"].get<std::size_t>()];
      SCOPED_TRACE(entry["file"].get<std::string>() + ": " + conversation["name"].get<std::string>());
      ++cases;
      std::string text, error;
      try {
        text = chat.render({.messages = conversation["messages"],
                            .tools = tools_of(conversation),
                            .add_generation_prompt = test_case["add_generation_prompt"],
                            .continue_final_message = conversation["continue_final_message"],
                            .now = golden["now"]});
      } catch (const TemplateError& failure) {
        error = failure.what();
      }
      if (test_case.contains("error")) {
        EXPECT_THAT(error, HasSubstr("(chat template, line "));
        EXPECT_THAT(error, HasSubstr(test_case["error"].get<std::string>()));
      } else {
        EXPECT_EQ(error, "");
        EXPECT_EQ(text, test_case["text"].get<std::string>());
      }
    }
  }
  EXPECT_GE(golden["templates"].size(), 30u);
  EXPECT_GT(cases, 1000);
}

TEST(ChatTemplateTest, ErrorsHaveTheTemplatesOwnMessageAndLine) {
  const auto chat =
      from_source("a\n{% if messages %}\n{{ raise_exception('No ' + messages[0].role) }}{% endif %}");
  EXPECT_EQ(error_of(chat, {{{"role", "cat"}}}), "No cat (chat template, line 3)");
}

TEST(ChatTemplateTest, MessagesNestedTooDeeplyAreRefused) {
  const auto chat = from_source("{{ messages }}");
  Json deep = 1;
  for (int i = 0; i < 5000; ++i) deep = Json::array({std::move(deep)});
  EXPECT_THAT(error_of(chat, deep), HasSubstr("nested too deeply"));
}

TEST(ChatTemplateTest, InvalidUtf8IsReplaced) {
  const auto chat = from_source("{{ messages[0].content[1] }}");
  EXPECT_EQ(render(chat, Json::array({{{"role", "user"}, {"content", "a\xFFz"}}})), "\uFFFD");
}

TEST(ChatTemplateTest, PartsAreJoinedUnlessTheTemplateLoopsOverThem) {
  const Json messages = Json::parse(
      R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "text", "text": "b"}]}])");
  EXPECT_EQ(render(from_source("{{ messages[0].content }}"), messages), "a\n\nb");
  EXPECT_EQ(render(from_source("{% for p in messages[0].content %}<{{ p.text }}>{% endfor %}"), messages),
            "<a><><b>");
  EXPECT_EQ(render(from_source("{% for m in messages %}{% for p in m['content'] | reverse %}<{{ p['text'] }}>"
                               "{% endfor %}{% endfor %}"),
                   messages),
            "<b><><a>");
  EXPECT_EQ(render(from_source("{{ messages[0]['content'] | selectattr('type', 'equalto', 'text') | "
                               "map(attribute='text') | join('+') }}"),
                   messages),
            "a++b");
}

// One conversation with a content in one role, as a string and as parts.
std::string render_content(const std::string& source, const std::string& role, const Json& content) {
  Json messages = Json::array({{{"role", "user"}, {"content", "q"}},
                               {{"role", "assistant"}, {"content", "r"}},
                               {{"role", role}, {"content", content}}});
  if (role == "system") std::swap(messages[0], messages[2]);
  return render(from_source(source), messages);
}

TEST(ChatTemplateTest, ContentsHaveTheFormThatTheTemplateTakesFromTheirRole) {
  const Json parts = Json::parse(R"([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])");
  const auto loop = [](const std::string& condition) {
    return "{% for m in messages if m.role == '" + condition +
           "' %}{% for part in m['content'] %}{% if part['type'] == 'text' %}<{{ part['text'] }}>{% endif %}"
           "{% endfor %}{% endfor %}";
  };
  const auto print = [](const std::string& role, const std::string& filter = "") {
    return "{% for m in messages if m.role == '" + role + "' %}({{ m.content" + filter + " }}){% endfor %}";
  };
  for (const char* role : {"system", "user", "assistant", "tool"}) {
    SCOPED_TRACE(role);
    const std::string before = std::string(role) == "user"        ? "<q>"
                               : std::string(role) == "assistant" ? "<r>"
                                                                  : "";
    EXPECT_EQ(render_content(loop(role), role, "How?"), before + "<How?>");
    EXPECT_EQ(render_content(loop(role), role, ""), before + "<>");
    EXPECT_EQ(render_content(loop(role), role, parts), before + "<one><two>");
  }
  // Each role by its own: users' parts, tools' texts.
  const std::string mixed = loop("user") + print("tool", " | tojson") + print("system", " | trim");
  EXPECT_EQ(render_content(mixed, "tool", parts), R"(<q>("one\ntwo"))");
  EXPECT_EQ(render_content(mixed, "tool", "18 degrees"), R"(<q>("18 degrees"))");
  EXPECT_EQ(render_content(mixed, "system", parts), "<q>(one\ntwo)");
  EXPECT_EQ(render_content(mixed, "user", "Hi"), "<q><Hi>");
  // Strings and lists, each its way.
  const std::string both =
      "{% for m in messages %}{% if m.content is string %}[{{ m.content }}]{% else %}{% for p in m.content %}"
      "<{{ p.text }}>{% endfor %}{% endif %}{% endfor %}";
  EXPECT_EQ(render_content(both, "user", parts), "[q][r]<one><two>");
  EXPECT_EQ(render_content(both, "user", "Hi"), "[q][r][Hi]");
  // Only the first part is read.
  EXPECT_EQ(render_content("{{ messages[-1].content[0].text }}", "user", parts), "one\ntwo");
  EXPECT_EQ(render_content("{{ messages[-1].content[0]['text'] }}", "user", "Hi"), "Hi");
  // A template that demands that roles alternate, and names for the content.
  const std::string strict =
      "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ "
      "raise_exception('order') }}"
      "{% endif %}{% set text = m.content %}{% for p in text %}{{ p.text + ';' }}{% endfor %}{% endfor %}";
  EXPECT_EQ(render(from_source(strict), Json::parse(R"([{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}])")),
            "a;b;c;");
}

TEST(ChatTemplateTest, AToolsPartsAreJoinedForAPublishedTemplate) {
  std::ifstream file(test_data_dir() / "templates/published/mistral_v3_tekken.jinja");
  const std::string source{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(source.empty());
  const Json messages = Json::parse(R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "",
      "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": {}}}]},
      {"role": "tool", "tool_call_id": "abcdefghi", "content": [{"type": "text", "text": "18 degrees"}]}])");
  const std::string text = render(from_source(source, "<s>", "</s>"), messages);
  EXPECT_THAT(text, HasSubstr("18 degrees"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("'type'")));
}

TEST(ChatTemplateTest, NullFieldsAreAbsentAndReasoningHasSeveralNames) {
  const Json messages =
      Json::parse(R"([{"role": "assistant", "content": null, "reasoning": "r", "x": null}])");
  EXPECT_EQ(render(from_source("{{ messages | tojson }}"), messages),
            R"([{"thinking": "r", "role": "assistant", "reasoning": "r", "reasoning_content": "r"}])");
}

TEST(ChatTemplateTest, TheLastMessageIsContinued) {
  const auto continued = [](const std::string& source, const std::string& messages) {
    const Json parsed = Json::parse(messages);
    try {
      return from_source(source).render(
          {.messages = parsed, .add_generation_prompt = false, .continue_final_message = true});
    } catch (const TemplateError& error) {
      return std::string("error: ") + error.what();
    }
  };
  const std::string chat = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}";
  EXPECT_EQ(continued(chat, R"([{"role": "u", "content": "a"}, {"role": "a", "content": "Once "}])"),
            "<u>a</><a>Once ");
  EXPECT_EQ(continued("{{ messages[0].content | trim }}.", R"([{"content": " Once  "}])"), "Once");
  EXPECT_EQ(
      continued(
          "{{ messages[0].content[0].text }}.{% for p in messages[0].content %}{{ p.text }}{% endfor %}.",
          R"([{"content": [{"text": "a"}, {"text": "b"}]}])"),
      "a.ab");
  EXPECT_THAT(continued("x", R"([{"content": "a"}])"), HasSubstr("leaves out the message to continue"));
  EXPECT_THAT(continued(chat, R"([{"role": "a"}])"), HasSubstr("no text in the last message"));
}

TEST(ChatTemplateTest, TheTimeIsLocalAndWithoutAZone) {
  const auto chat = from_source("{{ strftime_now('%d %b %Y|%f|%z%Z|%%z') }}");
  const Json none = Json::array();
  EXPECT_EQ(chat.render({.messages = none, .now = 1721997000}), "26 Jul 2024|000000||%z");
}

TEST(ChatTemplateTest, KeysStayInOrder) {
  const auto chat = from_source("{{ messages | tojson }}{{ tools | tojson }}");
  const Json messages = Json::parse(R"([{"z": 1, "a": 18446744073709551615}])");
  EXPECT_EQ(render(chat, messages, true, &messages), R"([{"z": 1, "a": 1.8446744073709552e+19}])"
                                                     R"([{"z": 1, "a": 1.8446744073709552e+19}])");
}

class ChatTemplateFilesTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { directory_.write(name, text); }

  std::string render(const Json* tools = nullptr) const {
    return sinkstream::render(ChatTemplate::load(directory_.path()),
                              Json::parse(R"([{"role": "user", "content": " Hi "}])"), true, tools);
  }

  std::string complaint() const {
    try {
      ChatTemplate::load(directory_.path());
      return "no complaint";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
      EXPECT_THAT(error.what(), HasSubstr(directory_.path().string()));
      return error.what();
    }
  }

  const TemporaryDirectory directory_;
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

TEST_F(ChatTemplateFilesTest, FilesOfAdditionalTemplates) {
  write("additional_chat_templates/tool_use.jinja", "with {{ tools | length }}");
  write("additional_chat_templates/rag.jinja", "unused {{");
  write("tokenizer_config.json", R"({"chat_template": [
    {"name": "default", "template": "usual"}, {"name": "tool_use", "template": "old"}]})");
  const Json tools = Json::parse(R"([{"type": "function"}])");
  EXPECT_EQ(render(&tools), "with 1");
  EXPECT_EQ(render(), "usual");
  write("chat_template.jinja", "new");
  EXPECT_EQ(render(), "new");
}

TEST_F(ChatTemplateFilesTest, TheProcessorsFileComesLast) {
  write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(render(), "processor");
  write("tokenizer_config.json", R"({"chat_template": {"default": "tokenizer"}})");
  EXPECT_EQ(render(), "tokenizer");
}

TEST_F(ChatTemplateFilesTest, TokensOfTheSpecialTokensMap) {
  write("chat_template.jinja",
        "{{ bos_token }}{{ eos_token }}{{ image_token }}{{ pad_token is defined }}{{ add_bos_token }}");
  write("special_tokens_map.json",
        R"({"bos_token": "<old>", "eos_token": {"content": "<e>"}, "pad_token": null,
    "additional_special_tokens": ["x"]})");
  EXPECT_EQ(render(), "<old><e>False");
  write("tokenizer_config.json",
        R"({"bos_token": "<b>", "eos_token": null, "image_token": "<i>", "add_bos_token": true})");
  EXPECT_EQ(render(), "<b><e><i>False");
}

TEST_F(ChatTemplateFilesTest, ATemplateWithoutAWordOnTokens) {
  write("chat_template.jinja", "{{ bos_token + 'a' + eos_token }}");
  EXPECT_EQ(render(), "a");
  write("tokenizer_config.json", R"({"bos_token": null})");
  EXPECT_THROW(render(), TemplateError);
}

TEST_F(ChatTemplateFilesTest, BrokenFilesAreRefusedByName) {
  write("tokenizer_config.json", R"({"chat_template": "a\n{% if %}"})");
  EXPECT_THAT(complaint(), HasSubstr("tokenizer_config.json: chat template, line 2: Expected an expression"));
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THAT(complaint(), HasSubstr("chat_template: must be an object"));
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
  const auto chat = ChatTemplate::load(project_dir() / "models/demo");
  const Json messages =
      Json::parse(R"([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])");
  EXPECT_EQ(render(chat, messages), "<|begin|><|system|>s<|end|><|user|>u<|end|><|assistant|>");
  EXPECT_THAT(error_of(chat, Json::parse(R"([{"role": "cat", "content": ""}])")),
              HasSubstr("Unknown role: cat"));
}

}  // namespace
}  // namespace sinkstream
