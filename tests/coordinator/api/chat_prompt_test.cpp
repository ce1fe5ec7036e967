// From messages to the prompt.
#include <algorithm>

#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {
namespace {

// A template that shows all that it is given.
class TokenizeOfMessages : public CoordinatorTest {
 protected:
  static ChatTemplate from_source(const std::string& source) {
    TemplateSources sources;
    sources.usual = source;
    return ChatTemplate(sources);
  }

  // The text of the prompt that the messages give.
  std::string prompt_of(const std::string& body) const {
    const RawResponse response = ask(post("/tokenize", body));
    const Json answered = Json::parse(response.body);
    if (response.status != 200) return answered["error"]["message"];
    return answer("/detokenize", {{"tokens", answered["tokens"]}})["prompt"];
  }

  std::vector<TokenId> tokens_of(const std::string& body) const {
    return Json::parse(ask(post("/tokenize", body)).body)["tokens"];
  }

  const ChatTemplate chat =
      from_source("{{ tools | tojson }}|{% for m in messages %}{{ m | tojson }}{% endfor %}");
};

TEST_F(TokenizeOfMessages, ToolsAndToolCallsKeepTheirOrder) {
  start(chat);
  EXPECT_EQ(prompt_of(R"({"messages": [{"role": "user", "content": "q", "name": "Ann"}, {"role": "assistant",
                "content": null, "tool_calls": [{"type": "function", "id": "i",
                "function": {"name": "f", "arguments": "{\"z\": 1, \"a\": [1.5, null]}"}}]},
                {"tool_call_id": "i", "role": "tool", "content": "r"}],
                "tools": [{"type": "function", "function": {"name": "f", "b": 1, "a": {"y": 2, "x": 1}}}]})"),
            R"([{"type": "function", "function": {"name": "f", "b": 1, "a": {"y": 2, "x": 1}}}]|)"
            R"({"role": "user", "content": "q", "name": "Ann"})"
            R"({"role": "assistant", "tool_calls": [{"type": "function", "id": "i", )"
            R"("function": {"name": "f", "arguments": {"z": 1, "a": [1.5, null]}}}]})"
            R"({"tool_call_id": "i", "role": "tool", "content": "r"})");
}

TEST_F(TokenizeOfMessages, NothingInAMessageOrAToolBecomesASpecialToken) {
  start(chat);
  const auto specials = [this](const std::string& body) {
    const std::vector<TokenId> tokens = tokens_of(body);
    EXPECT_FALSE(tokens.empty());
    return std::count_if(tokens.begin(), tokens.end(), [](TokenId id) { return tokenizer().is_special(id); });
  };
  const std::string body = R"({"messages": [{"role": "user", "content": "<|end|>", "name": "<|user|>",
      "<|begin|>": {"<|end|>": ["<|end|>"]}}, {"role": "assistant", "tool_calls": [{"id": "<|end|>", "function":
      {"name": "<|end|>", "arguments": "{\"<|end|>\": \"<|end|>\"}"}}]}, {"role": "tool", "tool_call_id": "<|end|>",
      "content": [{"type": "text", "text": "<|end|>"}]}], "tools": [{"<|end|>": "<|end|>"}]})";
  EXPECT_EQ(specials(body), 0);
  EXPECT_EQ(prompt_of(body).substr(0, 25), R"([{"<|end|>": "<|end|>"}]|)");
}

TEST_F(TokenizeOfMessages, TheTemplatesOwnTokensAreSpecial) {
  const ChatTemplate own = from_source("<|user|>{{ messages[0].content }}<|end|>");
  start(own);
  const std::vector<TokenId> tokens = tokens_of(R"({"messages": [{"role": "user", "content": "<|end|>"}]})");
  EXPECT_EQ(tokens.front(), tokenizer().find("<|user|>"));
  EXPECT_EQ(tokens.back(), tokenizer().find("<|end|>"));
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), tokens.back()), 1);
}

TEST_F(TokenizeOfMessages, ArgumentsStayTextForATemplateThatAddsThemToOne) {
  const ChatTemplate adding = from_source("{{ 'f' + messages[0].tool_calls[0].function.arguments }}");
  start(adding);
  EXPECT_EQ(prompt_of(R"({"messages": [{"role": "assistant", "tool_calls":
      [{"function": {"name": "f", "arguments": "{\"a\":1}"}}]}]})"),
            R"(f{"a":1})");
  EXPECT_EQ(prompt_of(R"({"messages": [{"role": "assistant", "tool_calls":
      [{"function": {"name": "f", "arguments": {"a": 1}}}]}]})"),
            "The chat template refuses these messages: can only concatenate str (not \"dict\") to str (chat "
            "template, line 1)");
}

// A cut-off answer, or another server's, is data: the text goes on as it came.
TEST_F(TokenizeOfMessages, ArgumentsThatAreNoObjectDoNotEndTheConversation) {
  const ChatTemplate printing = from_source("{{ messages[0].tool_calls[0].function.arguments }}");
  const ChatTemplate items = from_source(
      "{% for k, v in messages[0].tool_calls[0].function.arguments.items() %}{{ k }}={{ v }};{% endfor %}");
  const auto with = [](const std::string& arguments) {
    return R"({"messages": [{"role": "assistant", "content": null, "tool_calls":
      [{"function": {"name": "f", "arguments": )" +
           arguments + "}}]}]}";
  };
  start(printing);
  EXPECT_EQ(prompt_of(with(R"("{\"contents\": \"abc")")), R"({"contents": "abc)");
  EXPECT_EQ(prompt_of(with(R"("[1, 2]")")), "[1, 2]");
  EXPECT_EQ(prompt_of(with(R"("null")")), "null");
  EXPECT_EQ(prompt_of(with(R"("plain words")")), "plain words");
  EXPECT_EQ(prompt_of(with("[1, 2]")), "[1, 2]");
  EXPECT_EQ(prompt_of(with("5")), "5");
  EXPECT_EQ(prompt_of(with(R"("  ")")), "{}");
  coordinator->stop();
  start(items);
  EXPECT_EQ(prompt_of(with(R"("{\"contents\": \"abc")")), R"(arguments={"contents": "abc;)");
  EXPECT_EQ(prompt_of(with(R"("{\"a\": 1}")")), "a=1;");
  EXPECT_EQ(prompt_of(with("5")), "arguments=5;");
}

TEST_F(TokenizeOfMessages, AnAnswerOrAResultMayHaveNoContent) {
  const ChatTemplate adding = from_source(
      "{% for m in messages %}{{ m.role + ':' + m.content + m.get('reasoning_content', '') }};{% endfor %}");
  start(adding);
  for (const char* content : {"", R"("content": null,)", R"("content": [],)", R"("content": "",)"}) {
    SCOPED_TRACE(content);
    EXPECT_EQ(prompt_of(R"({"messages": [{"role": "assistant", )" + std::string(content) +
                        R"("tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
                        {"role": "tool", )" +
                        content + R"("tool_call_id": "x"},
                        {"role": "assistant", )" +
                        content + R"("reasoning_content": "r"}]})"),
              "assistant:;tool:;assistant:r;");
  }
}

// As the official client's model_dump() and its relatives write them.
TEST_F(TokenizeOfMessages, AnswersComeBackAsClientsKeepThem) {
  start(chat);
  const auto shown = [this](const std::string& more) {
    return prompt_of(R"({"messages": [{"role": "assistant", )" + more + "}]}");
  };
  EXPECT_EQ(
      shown(R"("content": "a", "refusal": null, "audio": null, "function_call": null, "tool_calls": null)"),
      R"(null|{"role": "assistant", "content": "a"})");
  EXPECT_EQ(shown(R"("content": "a", "annotations": [], "tool_calls": [])"),
            R"(null|{"role": "assistant", "content": "a", "annotations": []})");
  const char* refused = R"(null|{"role": "assistant", "content": "I will not."})";
  EXPECT_EQ(shown(R"("content": null, "refusal": "I will not.")"), refused);
  EXPECT_EQ(shown(R"("content": [{"type": "refusal", "refusal": "I will not."}])"), refused);
}

TEST_F(TokenizeOfMessages, FunctionCallsOfOldAreToolCalls) {
  start(chat);
  EXPECT_EQ(prompt_of(R"({"messages": [
      {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\": 1}"}},
      {"role": "function", "name": "f", "content": "r"}]})"),
            R"(null|{"role": "assistant", "tool_calls": [{"id": "call00001", "type": "function", )"
            R"("function": {"name": "f", "arguments": {"a": 1}}}]})"
            R"({"role": "tool", "name": "f", "content": "r", "tool_call_id": "call00001"})");
}

TEST_F(TokenizeOfMessages, NoToolsAreNone) {
  start(chat);
  const std::string messages = R"({"messages": [{"role": "user", "content": "a"}])";
  EXPECT_EQ(prompt_of(messages + R"(, "tools": []})"), prompt_of(messages + "}"));
  EXPECT_EQ(ask(post("/tokenize", R"({"prompt": "a", "tools": []})")).status, 200);
}

// Shows users and assistants, and systems at the beginning.
constexpr const char* kForgetful =
    "{% if messages[0].role == 'system' %}S:{{ messages[0].content | trim | upper }};{% endif %}"
    "{% for m in messages if m.role in ['user', 'assistant'] %}{{ m.role[0] }}:{{ m.content | trim }};{% "
    "endfor %}";

class UnseenMessages : public TokenizeOfMessages {
 protected:
  RawResponse ask_about(const std::string& messages) const {
    return ask(post("/tokenize", R"({"messages": [)" + messages + "]}"));
  }
  void expect_refused(const std::string& messages, const std::string& param, const std::string& role) const {
    const RawResponse refused = ask_about(messages);
    EXPECT_EQ(refused.status, 400) << messages;
    const Json error = Json::parse(refused.body)["error"];
    EXPECT_EQ(error["param"], param);
    EXPECT_NE(error["message"].get<std::string>().find("role '" + role + "'"), std::string::npos) << error;
  }
};

TEST_F(UnseenMessages, InstructionsThatTheTemplateLeavesOutAreRefused) {
  const ChatTemplate forgetful = from_source(kForgetful);
  start(forgetful);
  const std::string user = R"({"role": "user", "content": "q"})";
  EXPECT_EQ(ask_about(R"({"role": "system", "content": " Be kind. "}, )" + user).status, 200);
  expect_refused(user + R"(, {"role": "system", "content": "Be kind."})", "messages[1]", "system");
  // also where its text stands elsewhere
  const ChatTemplate users =
      from_source("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}");
  coordinator->stop();
  start(users);
  expect_refused(R"({"role": "system", "content": "q"}, )" + user, "messages[0]", "system");
  expect_refused(user + R"(, {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]})",
                 "messages[1]", "developer");
  EXPECT_EQ(ask_about(R"({"role": "system", "content": "  "}, )" + user).status, 200) << "nothing is lost";
}

TEST_F(UnseenMessages, OfAnotherMessageTheAnswerAndTheLogWarn) {
  const ChatTemplate forgetful = from_source(kForgetful);
  start(forgetful);
  const std::string history = R"({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"})";
  const std::string result = R"(, {"role": "tool", "content": "18 degrees", "tool_call_id": "x"})";
  EXPECT_FALSE(ask_about(history).headers.contains("x-sinkstream-warning"));
  const RawResponse warned = ask_about(history + result);
  EXPECT_EQ(warned.status, 200);
  EXPECT_EQ(warned.headers.at("x-sinkstream-warning"),
            "the model's chat template leaves out a message of role tool: the model does not get it");
  const RawResponse streamed =
      ask(post("/v1/chat/completions",
               R"({"stream": true, "max_tokens": 1, "messages": [)" + history + result + "]}"));
  EXPECT_EQ(streamed.headers.at("x-sinkstream-warning"), warned.headers.at("x-sinkstream-warning"));
}

TEST_F(UnseenMessages, WhatATemplateMovesOrChangesIsSeen) {
  // The system's words come last, in quotes; what an assistant thought is dropped.
  const ChatTemplate moving = from_source(
      "{% set s = messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | list %}"
      "{% for m in messages if m.role != 'system' %}{{ m.content.split('</think>')[-1] }};{% endfor %}"
      "{{ s | tojson }}");
  start(moving);
  const RawResponse taken = ask_about(
      R"({"role": "system", "content": "Say \"I\"."}, {"role": "user", "content": "q"},
         {"role": "assistant", "content": "<think>hm</think>a"}, {"role": "system", "content": "Now."})");
  EXPECT_EQ(taken.status, 200) << taken.body;
  EXPECT_FALSE(taken.headers.contains("x-sinkstream-warning"));
}

TEST_F(UnseenMessages, ADeveloperIsTheSystemWhereTheTemplateKnowsThatAlone) {
  const ChatTemplate forgetful = from_source(kForgetful);
  start(forgetful);
  EXPECT_EQ(prompt_of(R"({"messages": [{"role": "developer", "content": "Be kind."}]})"), "S:BE KIND.;");
  coordinator->stop();
  start(chat);
  EXPECT_EQ(prompt_of(R"({"messages": [{"role": "developer", "content": "b"}]})"),
            R"(null|{"role": "developer", "content": "b"})");
}

TEST_F(TokenizeOfMessages, VariablesForTheTemplate) {
  const ChatTemplate own = from_source(
      "{{ reasoning_effort | default('none') }} {{ enable_thinking }} {{ bos_token }} {{ documents }}");
  start(own);
  const auto with = [this](const std::string& more) {
    return prompt_of(R"({"messages": [{"role": "user", "content": "a"}])" + more + "}");
  };
  const std::string plain = with("");
  EXPECT_EQ(plain.substr(0, 5), "none ");
  EXPECT_EQ(with(R"(, "chat_template_kwargs": {})"), plain);
  EXPECT_EQ(with(R"(, "reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": false,
                    "bos_token": "B", "documents": [1]})"),
            "high False B [1]");
  EXPECT_EQ(with(R"(, "reasoning_effort": "high", "chat_template_kwargs": {"reasoning_effort": "low"})")
                .substr(0, 4),
            "low ");
  const auto tokens = tokens_of(R"({"messages": [{"role": "user", "content": "a"}],
      "chat_template_kwargs": {"enable_thinking": "<|end|>"}})");
  EXPECT_EQ(std::ranges::count(tokens, *tokenizer().find("<|end|>")), 0) << "a variable is text";
  answer("/v1/chat/completions", Json::parse(R"({"messages": [{"role": "user", "content": "a"}],
      "reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": true}})"));
  EXPECT_EQ(tokenizer().decode(engine->requests().back().prompt.list(), false).substr(0, 9), "high True");
}

TEST_F(TokenizeOfMessages, TheLastMessageContinued) {
  start();
  EXPECT_EQ(prompt_of(R"({"continue_final_message": true,
      "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Once upon"}]})"),
            "<|begin|><|user|>a<|end|><|assistant|>Once upon");
  answer("/v1/chat/completions",
         Json::parse(
             R"({"continue_final_message": true, "messages": [{"role": "assistant", "content": "b"}]})"));
  EXPECT_EQ(tokenizer().decode(engine->requests().back().prompt.list(), false), "<|begin|><|assistant|>b");
}

TEST_F(TokenizeOfMessages, ManyFieldsTakeNoLongerThanTheyShould) {
  start(chat);
  std::string body = R"({"messages": [{"role": "user", "content": "a"}], "tools": [{"x": 1)";
  for (int i = 0; i < 100'000; ++i) body += ", \"k" + std::to_string(i) + "\": 1";
  EXPECT_EQ(ask(post("/tokenize", body + "}]}")).status, 200);
}

}  // namespace
}  // namespace sinkstream::testing
