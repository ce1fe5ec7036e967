// What must be refused, each with its status, code and parameter; afterwards the server is as good as before.
#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {
namespace {

struct BadRequest {
  std::string path;
  std::string body;
  std::string param;  // empty: null
  std::string code = "invalid_value";
  int status = 400;
};

std::string chat_with(const std::string& fields) {
  return R"({"messages": [{"role": "user", "content": "hi"}], )" + fields + "}";
}
std::string text_with(const std::string& fields) {
  return R"({"prompt": "hi", )" + fields + "}";
}

std::string repeat(const std::string& text, std::size_t times) {
  std::string result;
  result.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i) result += text;
  return result;
}

std::vector<BadRequest> bad_json() {
  std::vector<BadRequest> cases;
  // 17: JSONTestSuite's n_*, in kind
  for (const std::string& body :
       {std::string(""), std::string(" "), std::string("{"), std::string("{]"), std::string("{\"a\" 1}"),
        std::string("{\"a\":1,}"), std::string("{,}"), std::string("{'a':1}"), std::string("{a:1}"),
        std::string("{\"a\":1}x"), std::string("{\"a\":1}{}"), std::string("{\"a\":01}"),
        std::string("{\"a\":+1}"), std::string("{\"a\":1.}"), std::string("{\"a\":.5}"),
        std::string("{\"a\":0x1}"), std::string("{\"a\":NaN}"), std::string("{\"a\":Infinity}"),
        std::string("{\"a\":-}"), std::string("{\"a\":tru}"), std::string("{\"a\":\"\t\"}"),
        std::string("{\"a\":\"\\x\"}"), std::string("{\"a\":\"\\u12\"}"), std::string("{\"a\":\"unended}"),
        std::string("/* */{}"), std::string("{\"a\":1} // x"), std::string("{\"a\":\"b\"", 8),
        std::string("\0{}", 3), std::string("{}\0", 3), std::string("*"), std::string("{\"a\":[1,2"),
        std::string("{\"a\":1e400}"), std::string("{\"a\":-1e999}"),
        // 18
        std::string("{\"a\":\"\xff\"}"), std::string("{\"a\":\"\xc0\xae\"}"),
        std::string("{\"a\":\"\xed\xa0\x80\"}"), std::string("{\"a\":\"\\ud800\"}"),
        std::string("{\"a\":\"\\udc00\"}"), std::string("{\"\xe2\x82\":1}"), std::string("\xef\xbb{}"),
        // 17: nesting
        repeat("[", 100000), repeat("{\"\":", 250000 / 4),
        "{\"a\":" + repeat("[", 64) + repeat("]", 64) + "}",
        // 19
        std::string("{\"model\":\"fake\",\"model\":\"fake\"}")}) {
    const bool duplicate = body.find("\"model\",") == std::string::npos && body.starts_with("{\"model\"");
    cases.push_back({kChat, body, duplicate ? "model" : "", "invalid_json"});
  }
  // 20
  for (const char* body : {"[]", "null", "1", "\"\"", "true"})
    cases.push_back({kChat, body, "", "invalid_type"});
  return cases;
}

std::vector<BadRequest> bad_parameters() {
  std::vector<BadRequest> cases;
  const auto both = [&](const std::string& field, const std::string& value,
                        const std::string& code = "invalid_value", const std::string& param = "") {
    const std::string fields = "\"" + field + "\": " + value;
    const std::string named = param.empty() ? field : param;
    cases.push_back({kChat, chat_with(fields), named, code});
    cases.push_back({kText, text_with(fields), named, code});
  };
  // 21
  for (const char* value : {"1.5", "\"5\"", "true", "[1]"}) {
    both("max_tokens", value, "invalid_type");
  }
  both("temperature", "\"1\"", "invalid_type");
  both("temperature", "true", "invalid_type");
  both("stream", "1", "invalid_type");
  both("stream", "\"true\"", "invalid_type");
  both("model", "5", "invalid_type");
  // 22
  for (const char* value : {"-1", "1e9", "2.0001"}) both("temperature", value);
  for (const char* value : {"0", "-1", "2"}) both("top_p", value);
  for (const char* field : {"presence_penalty", "frequency_penalty"}) both(field, "1e9"), both(field, "-2.1");
  for (const char* value : {"0", "1e-50", "0.0099", "-1", "2.1"}) both("repetition_penalty", value);
  both("min_p", "1.1");
  both("top_k", "-2");
  both("top_k", "4294967296");
  for (const char* value : {"-2", "65537"}) both("repeat_last_n", value);
  // 23
  for (const char* value : {"0", "-1", "5000000", "17"}) both("n", value);
  cases.push_back({kText, text_with("\"best_of\": 5000000"), "best_of"});
  cases.push_back({kText, text_with("\"best_of\": 2"), "best_of", "unsupported_parameter"});
  // 24
  for (const char* value : {"21", "1000000000", "-1"}) {
    cases.push_back(
        {kChat, chat_with("\"logprobs\": true, \"top_logprobs\": " + std::string(value)), "top_logprobs"});
  }
  cases.push_back({kChat, chat_with("\"top_logprobs\": 1"), "top_logprobs"});
  cases.push_back({kChat, chat_with("\"logprobs\": 1"), "logprobs", "invalid_type"});
  for (const char* value : {"6", "-1", "1000000000"}) {
    cases.push_back({kText, text_with("\"logprobs\": " + std::string(value)), "logprobs"});
  }
  cases.push_back({kText, text_with("\"logprobs\": true"), "logprobs", "invalid_type"});
  // 25
  for (const char* key : {"abc", "-1", "-0", "", "1x", " 1", "01", "00", "99999999999", "1000000"}) {
    both("logit_bias", "{\"" + std::string(key) + "\": 1}");
  }
  both("logit_bias", "{\"1\": 101}", "invalid_value", "logit_bias.1");
  both("logit_bias", "{\"1\": \"1\"}", "invalid_type", "logit_bias.1");
  both("logit_bias", "[]", "invalid_type");
  std::string biases;
  for (int i = 0; i < 100000; ++i) biases += (i ? ",\"" : "\"") + std::to_string(i) + "\":1";
  both("logit_bias", "{" + biases + "}");
  // 26
  both("stop", "[" + repeat("\"a\",", 16) + "\"a\"]");
  both("stop", "[" + repeat("\"a\",", 500000) + "\"a\"]");
  both("stop", "\"\"");
  both("stop", "[\"\"]", "invalid_value", "stop[0]");
  both("stop", "\"" + std::string(1000000, 'x') + "\"");
  both("stop", "[1]", "invalid_type", "stop[0]");
  both("stop", "5", "invalid_type");
  both("stop_token_ids", "[-1]", "invalid_value", "stop_token_ids[0]");
  // 27
  for (const char* value : {"0", "-1", "100001", "9223372036854775807", "9223372036854775808",
                            "18446744073709551616", "0.0", "1e9"}) {
    both("max_tokens", value);
  }
  both("max_completion_tokens", "0");
  both("max_completion_tokens", "5, \"max_tokens\": 6", "invalid_value", "max_tokens");
  // 34
  both("seed", "9223372036854775808");
  both("seed", "1.5", "invalid_type");
  // 33
  cases.push_back({kChat, chat_with("\"model\": \"gpt-4\""), "model", "model_not_found", 404});
  cases.push_back({kText, text_with("\"model\": \"\""), "model", "model_not_found", 404});
  cases.push_back({"/tokenize", text_with("\"model\": \"gpt-4\""), "model", "model_not_found", 404});
  // what would change the result and is not supported
  both("response_format", R"({"type": "json_object"})", "unsupported_parameter", "response_format.type");
  both("tools", R"([{"type": "function", "function": {"name": "f"}}])", "unsupported_parameter");
  both("functions", R"([{"name": "f"}])", "unsupported_parameter");
  both("function_call", R"({"name": "f"})", "unsupported_parameter");
  both("tool_choice", "\"required\"", "unsupported_parameter");
  cases.push_back(
      {kText, text_with("\"reasoning_effort\": \"low\""), "reasoning_effort", "unsupported_parameter"});
  cases.push_back({kChat, chat_with("\"reasoning_effort\": 5"), "reasoning_effort", "invalid_type"});
  cases.push_back({kText, text_with("\"chat_template_kwargs\": {\"a\": 1}"), "chat_template_kwargs",
                   "unsupported_parameter"});
  cases.push_back(
      {kChat, chat_with("\"chat_template_kwargs\": [1]"), "chat_template_kwargs", "invalid_type"});
  cases.push_back({kChat, chat_with("\"chat_template_kwargs\": {\"messages\": []}"), "chat_template_kwargs"});
  both("modalities", R"(["text", "audio"])", "unsupported_parameter");
  both("audio", R"({"voice": "ash"})", "unsupported_parameter");
  both("bad_words", R"(["a"])", "unsupported_parameter");
  both("skip_special_tokens", "false, \"spaces_between_special_tokens\": false", "unsupported_parameter",
       "spaces_between_special_tokens");
  both("skip_special_tokens", "0", "invalid_type");
  both("min_tokens", "-1");
  both("min_tokens", "100001");
  both("min_tokens", "6, \"max_tokens\": 5", "invalid_value", "min_tokens");
  both("min_tokens", "\"5\"", "invalid_type");
  for (const char* value : {"-1", "21", "1000000000"}) both("prompt_logprobs", value);
  both("prompt_logprobs", "true", "invalid_type");
  both("prompt_logprobs", "1, \"stream\": true", "invalid_value", "prompt_logprobs");
  for (const char* field : {"guided_json", "json_schema"}) both(field, "{}", "unsupported_parameter");
  both("chat_template", "\"x\"", "unsupported_parameter");
  cases.push_back({kText, text_with("\"suffix\": \"x\""), "suffix", "unsupported_parameter"});
  cases.push_back({kText, text_with("\"top_logprobs\": 1"), "top_logprobs", "unsupported_parameter"});
  cases.push_back({kText, text_with("\"messages\": [{}]"), "messages", "unsupported_parameter"});
  cases.push_back({kChat, chat_with("\"prompt\": \"x\""), "prompt", "unsupported_parameter"});
  for (const char* field :
       {"truncate_prompt_tokens", "n_predict", "repeat_penalty", "typical_p", "tfs_z", "top_a",
        "no_repeat_ngram_size", "mirostat", "mirostat_mode", "dry_multiplier", "xtc_probability",
        "dynatemp_range", "top_n_sigma", "guidance_scale", "num_beams"}) {
    both(field, "2", "unsupported_parameter");
  }
  both("include_stop_str_in_output", "1", "invalid_type");
  both("stream_options", "{\"include_usage\": true}");
  both("truncation", "\"left\"");
  cases.push_back({kChat, chat_with("\"stream\": true, \"stream_options\": {\"include_usage\": 1}"),
                   "stream_options.include_usage", "invalid_type"});
  return cases;
}

std::string many_fields(int count) {
  std::string fields;
  for (int i = 0; i < count; ++i) fields += ", \"f" + std::to_string(i) + "\": 1";
  return fields;
}

std::vector<BadRequest> bad_prompts() {
  std::vector<BadRequest> cases = {
      // 28
      {kText, "{}", "prompt", "missing_required_parameter"},
      {kText, R"({"prompt": null})", "prompt", "missing_required_parameter"},
      {kText, R"({"prompt": ""})", "prompt"},
      {kText, R"({"prompt": []})", "prompt"},
      {kText, R"({"prompt": [[]]})", "prompt[0]"},
      {kText, R"({"prompt": ["a", ""]})", "prompt[1]"},
      {kText, R"({"prompt": {}})", "prompt", "invalid_type"},
      {kText, R"({"prompt": [1, "a"]})", "prompt[1]", "invalid_type"},
      {kText, R"({"prompt": ["a", 1]})", "prompt[1]", "invalid_type"},
      {kText, R"({"prompt": [[1], "a"]})", "prompt[1]", "invalid_type"},
      {kText, R"({"prompt": [1.5]})", "prompt[0]", "invalid_type"},
      {kText, R"({"prompt": [1e9]})", "prompt[0]"},
      {kText, R"({"prompt": [true]})", "prompt[0]", "invalid_type"},
      {kText, R"({"prompt": [-1]})", "prompt[0]"},
      {kText, R"({"prompt": [1, 1000000]})", "prompt[1]"},
      {kText, R"({"prompt": [1099511627776]})", "prompt[0]"},
      {kText, R"({"prompt": [[1], [18446744073709551615]]})", "prompt[1][0]"},
      {kText, "{\"prompt\": [" + repeat("\"a\",", 64) + "\"a\"]}", "prompt"},
      {kText, "{\"n\": 16, \"prompt\": [" + repeat("\"a\",", 4) + "\"a\"]}", "prompt"},
      {kText, "{\"n\": 16, \"prompt\": [" + repeat("1,", 600000) + "1]}", "prompt"},
      {kChat, "{}", "messages", "missing_required_parameter"},
      {kChat, R"({"messages": []})", "messages"},
      {kChat, R"({"messages": {}})", "messages", "invalid_type"},
      {kChat, R"({"messages": "hi"})", "messages", "invalid_type"},
      {kChat, R"({"messages": [1]})", "messages[0]", "invalid_type"},
      {kChat, R"({"messages": [{}]})", "messages[0].role", "missing_required_parameter"},
      {kChat, R"({"messages": [{"role": "user"}]})", "messages[0].content", "missing_required_parameter"},
      {kChat, R"({"messages": [{"role": "user", "content": null}]})", "messages[0].content",
       "missing_required_parameter"},
      {kChat, R"({"messages": [{"role": "user", "content": 5}]})", "messages[0].content", "invalid_type"},
      {kChat, R"({"messages": [{"role": "user", "content": []}]})", "messages[0].content", "invalid_type"},
      {kChat, R"({"messages": [{"role": "wizard", "content": "a"}]})", "messages[0].role"},
      {kChat, R"({"messages": [{"role": 5, "content": "a"}]})", "messages[0].role", "invalid_type"},
      {kChat, R"({"messages": [{"role": "user", "content": "a", "name": 5}]})", "messages[0].name",
       "invalid_type"},
      {kChat, R"({"messages": [{"role": "user", "content": "a", "tool_calls": [{"id": "x"}]}]})",
       "messages[0].tool_calls", "unsupported_parameter"},
      {kChat, R"({"messages": [{"role": "user", "content": "a", "refusal": "no"}]})", "messages[0].refusal",
       "unsupported_parameter"},
      {kChat, R"({"messages": [{"role": "assistant", "refusal": 5}]})", "messages[0].refusal",
       "invalid_type"},
      {kChat, R"({"messages": [{"role": "assistant", "function_call": "f"}]})", "messages[0].function_call",
       "invalid_type"},
      {kChat, R"({"messages": [{"role": "assistant", "function_call": {"arguments": "{}"}}]})",
       "messages[0].function_call.name", "missing_required_parameter"},
      {kChat, R"({"messages": [{"role": "assistant", "audio": {"id": "a"}}]})", "messages[0].audio",
       "unsupported_parameter"},
      {kChat, R"({"messages": [{"role": "assistant", "content": [{"type": "refusal"}]}]})",
       "messages[0].content[0].refusal", "missing_required_parameter"},
      {kChat, R"({"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}]})",
       "messages[0].content[0].type", "unsupported_content"},
      {kChat, R"({"messages": [{"role": "assistant", "content": "a", "tool_calls": {}}]})",
       "messages[0].tool_calls", "invalid_type"},
      {kChat, R"({"messages": [{"role": "assistant", "content": "a", "tool_calls": [5]}]})",
       "messages[0].tool_calls[0]", "invalid_type"},
      {kChat, R"({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]})",
       "messages[0].tool_calls[0].function", "missing_required_parameter"},
      {kChat, R"({"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]})",
       "messages[0].tool_calls[0].type", "unsupported_parameter"},
      {kChat, R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": 5}}]}]})",
       "messages[0].tool_calls[0].function.name", "invalid_type"},
      {kChat, R"({"messages": [{"role": "tool", "content": "a", "tool_call_id": 5}]})",
       "messages[0].tool_call_id", "invalid_type"},
      {kChat, R"({"messages": [{"role": "user", "content": "a", "function_call": {"name": "f"}}]})",
       "messages[0].function_call", "unsupported_parameter"},
      {kChat, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"" + many_fields(70) + "}]}",
       "messages[0]"},
      {kChat, R"({"messages": [{"role": "user", "content": "a"}], "continue_final_message": true,
                  "add_generation_prompt": true})",
       "add_generation_prompt"},
      {kChat, R"({"messages": [{"role": "user", "content": "a"}], "continue_final_message": "yes"})",
       "continue_final_message", "invalid_type"},
      {kText, R"({"prompt": "a", "continue_final_message": true})", "continue_final_message",
       "unsupported_parameter"},
      {kChat, R"({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]})",
       "messages[0].content[0].type", "unsupported_content"},
      {kChat,
       R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]})",
       "messages[0].content[0].type", "unsupported_content"},
      {kChat, R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
       "messages[0].content[0].text", "missing_required_parameter"},
      {kChat, R"({"messages": [{"role": "user", "content": ["a"]}]})", "messages[0].content[0]",
       "invalid_type"},
      // 30
      {"/detokenize", "{}", "tokens", "missing_required_parameter"},
      {"/detokenize", R"({"tokens": "a"})", "tokens", "invalid_type"},
      {"/detokenize", R"({"tokens": [1, -1]})", "tokens[1]"},
      {"/detokenize", R"({"tokens": [1000000]})", "tokens[0]"},
      {"/detokenize", R"({"tokens": [9223372036854775807]})", "tokens[0]"},
      {"/detokenize", R"({"tokens": [0.5]})", "tokens[0]", "invalid_type"},
      {"/tokenize", "{}", "prompt", "missing_required_parameter"},
      {"/tokenize", R"({"prompt": 5})", "prompt", "invalid_type"},
      {"/tokenize", R"({"prompt": "a", "messages": []})", "prompt", "missing_required_parameter"},
      {"/tokenize", R"({"prompt": "a", "tools": [{}]})", "tools"},
      {"/tokenize", R"({"messages": [{"role": "user", "content": "a"}], "tools": {}})", "tools",
       "invalid_type"},
      {"/tokenize", R"({"messages": [{"role": "user", "content": "a"}], "tools": [1]})", "tools[0]",
       "invalid_type"},
      {"/tokenize", R"({"messages": [{"role": "user", "content": "a"}], "chat_template": "x"})",
       "chat_template", "unsupported_parameter"},
      {"/tokenize", R"({"messages": [{"role": "tool", "content": "a"}]})", "messages"},
      {"/tokenize", R"({"messages": [{"role": "user"}]})", "messages[0].content",
       "missing_required_parameter"},
      {"/tokenize", R"({"prompt": "a", "add_special_tokens": 1})", "add_special_tokens", "invalid_type"},
  };
  return cases;
}

class BadRequests : public CoordinatorTest {
 protected:
  void expect_all_refused(const std::vector<BadRequest>& cases) {
    start();
    const Json normal = {{"prompt", "x"}, {"seed", 1}, {"temperature", 0}, {"logprobs", 2}};
    const Json before = answer(kText, normal)["choices"];
    for (const BadRequest& bad : cases) {
      const std::string shown = bad.path + " " + bad.body.substr(0, 120);
      const RawResponse response = ask(post(bad.path, bad.body));
      ASSERT_EQ(response.status, bad.status) << shown << "\n" << response.body;
      const Json error = Json::parse(response.body).at("error");
      EXPECT_EQ(error["code"], bad.code) << shown << "\n" << response.body;
      EXPECT_EQ(error["param"], bad.param.empty() ? Json(nullptr) : Json(bad.param)) << shown << "\n"
                                                                                     << response.body;
      EXPECT_EQ(error["type"], bad.status == 404 ? "not_found_error" : "invalid_request_error");
      EXPECT_FALSE(error["message"].get<std::string>().empty());
      EXPECT_LT(error["message"].get<std::string>().size(), 500u) << shown;
      ASSERT_EQ(ask(get("/health")).status, 200);
    }
    EXPECT_EQ(answer(kText, normal)["choices"], before);
    EXPECT_EQ(engine->requests().size(), 2u);  // none of the others came that far
  }
};

TEST_F(BadRequests, Json) {
  expect_all_refused(bad_json());
}
TEST_F(BadRequests, Parameters) {
  expect_all_refused(bad_parameters());
}
TEST_F(BadRequests, Prompts) {
  expect_all_refused(bad_prompts());
}

TEST_F(BadRequests, OddButValidJsonIsNoSyntaxError) {
  start();
  for (const char* body :
       {R"({"prompt":"x","a":[],"b":{},"c":[[],[[]]]})", R"({"prompt":"\u0000"})",
        R"({"prompt":"\ud834\udd1e"})", R"({"prompt":"\u2028\u2029\uffff"})", R"({"prompt":"x","seed":-0})",
        R"({"prompt":"x","z":1E-2})", "\t\r\n {\"prompt\" : \"x\"} \n", R"({"prompt":"x","":1e-400})",
        R"({"prompt":"x","seed":-9223372036854775808})", R"({"prompt":"x","seed":9223372036854775807})"}) {
    EXPECT_EQ(ask(post(kText, body)).status, 200) << body;
  }
}

// Some clients send every parameter they know; what is off or empty changes nothing.
TEST_F(BadRequests, WhatChangesNothingIsAccepted) {
  start();
  for (
      const char* fields :
      {R"("bad_words": [], "chat_template_kwargs": {}, "stream_options": {}, "tools": [], "functions": [])",
       R"("tool_choice": "none", "function_call": "none", "verbosity": "low", "logit_bias": {}, "stop": [])",
       R"("tool_choice": "auto", "function_call": "auto", "parallel_tool_calls": true, "stop_token_ids": [])",
       R"("audio": {}, "reasoning": {}, "documents": [], "prediction": null, "grammar": "", "guided_regex": "",
           "guided_choice": [], "logits_processors": [], "allowed_token_ids": [], "chat_template": "",
           "mm_processor_kwargs": {}, "web_search_options": {}, "structured_outputs": {}, "modalities": [])",
       R"("response_format": {"type": "text"}, "modalities": ["text"], "best_of": 1, "suffix": "",
           "top_logprobs": 0, "add_special_tokens": false)",
       R"("response_format": {}, "stream_options": {"include_usage": false, "continuous_usage_stats": false})",
       R"("max_tokens": 5.0, "n": 1.0, "top_k": 40.0, "seed": 1e3, "n_predict": -1, "min_tokens": 0)",
       R"("spaces_between_special_tokens": true, "use_beam_search": false, "length_penalty": 1.0)",
       R"("skip_special_tokens": true, "spaces_between_special_tokens": false, "ignore_eos": false)",
       R"("skip_special_tokens": false, "spaces_between_special_tokens": true, "repeat_last_n": 64)",
       R"("dry_base": 1.75, "xtc_threshold": 0.1, "mirostat_mode": 0, "mirostat_tau": 5, "num_beams": 1)",
       R"("stop": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16"])",
       R"("mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1)",
       R"("xtc_probability": 0.0, "xtc_threshold": 0.1)",
       R"("dry_multiplier": 0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_sequence_breakers": ["\n"])",
       R"("repeat_penalty": 1.0, "repeat_last_n": 64, "typical_p": 1, "tfs_z": 1.0, "top_a": 0)",
       R"("include_stop_str_in_output": false, "truncate_prompt_tokens": null, "top_logprobs": null)"}) {
    EXPECT_EQ(ask(post(kText, text_with(fields))).status, 200) << fields;
    EXPECT_EQ(ask(post(kChat, chat_with(fields))).status, 200) << fields;
  }
}

TEST_F(BadRequests, TheSmallestValuesDoNotBecomeForbiddenOnes) {
  start();
  for (const char* value : {"1e-50", "1e-310", "1e-46", "5e-324"}) {
    const std::string fields = "\"top_p\": " + std::string(value) + ", \"min_p\": " + value +
                               ", \"temperature\": " + value + ", \"presence_penalty\": " + value;
    ASSERT_EQ(ask(post(kText, text_with(fields))).status, 200) << value;
    EXPECT_EQ(engine->requests().back().sampling.top_p, std::numeric_limits<float>::min());
    EXPECT_EQ(engine->requests().back().sampling.min_p, 0);
  }
  ASSERT_EQ(ask(post(kText, text_with("\"repetition_penalty\": 0.01"))).status, 200);
  EXPECT_EQ(engine->requests().back().sampling.repetition_penalty, 0.01f);
}

TEST_F(BadRequests, BothNamesOfTheLongestAnswerAreKnown) {
  start();
  for (const char* field : {"max_tokens", "max_completion_tokens"}) {
    ASSERT_EQ(ask(post(kText, text_with("\"" + std::string(field) + "\": 7"))).status, 200);
    EXPECT_EQ(engine->requests().back().max_tokens, 7);
  }
  const std::string only_echo = text_with("\"echo\": true, \"max_completion_tokens\": 0");
  EXPECT_EQ(ask(post(kText, only_echo)).status, 200);
}

TEST_F(BadRequests, AMegabyteWithoutSpacesTakesNoLongerThanItShould) {
  start();
  const RawResponse response = post_json("/tokenize", {{"prompt", std::string(1'000'000, 'a')}});
  EXPECT_EQ(response.status, 200);
  EXPECT_GT(Json::parse(response.body)["count"], 1000);
}

}  // namespace
}  // namespace sinkstream::testing
