// A whole coordinator on a free port of 127.0.0.1, with the demo model's tokenizer and a fake engine.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "coordinator/coordinator.h"
#include "tests/coordinator/api/fake_engine.h"
#include "tests/coordinator/http/raw_client.h"
#include "tests/paths.h"
#include "tests/patience.h"

namespace sinkstream::testing {

using Json = nlohmann::json;

inline const std::string kChat = "/v1/chat/completions";
inline const std::string kText = "/v1/completions";

class CoordinatorTest : public ::testing::Test {
 protected:
  // The session remembers 4 + 28 tokens.
  CoordinatorTest() {
    settings.listen = "127.0.0.1:0";
    api_settings.model_name = "fake";
    api_settings.default_max_tokens = 64;
    api_settings.max_tokens = 100000;
    limits.vocab_size = tokenizer().vocab_size();
    limits.end_tokens = {*tokenizer().find("<|end|>")};
    limits.session.window = {4, 28};
    limits.session.ring_capacity = 28 + 128;
    limits.max_queue = 64;
    limits.num_slots = 8;
  }

  static const Tokenizer& tokenizer() {
    static const Tokenizer loaded = Tokenizer::load(project_dir() / "models/demo/tokenizer.json");
    return loaded;
  }
  static const ChatTemplate& chat_template() {
    static const ChatTemplate loaded = ChatTemplate::load(project_dir() / "models/demo");
    return loaded;
  }

  void start() { start(chat_template()); }
  // `chat` must stay alive.
  void start(const ChatTemplate& chat) {
    engine.emplace(limits);
    say("Hello, dear world!");
    coordinator.emplace(*engine, tokenizer(), chat, api_settings, settings);
    address = coordinator->start();
  }
  void say(const std::string& text, bool endless = false) {
    engine->set_reply(tokenizer().encode(text, {.add_special_tokens = false}), endless);
  }
  void TearDown() override {
    if (coordinator) coordinator->stop();
  }

  RawResponse ask(std::string_view request) const { return ask_once(address, request); }
  RawResponse post_json(const std::string& path, const Json& body) const {
    return ask(post(path, body.dump()));
  }
  Json answer(const std::string& path, const Json& body) const {
    const RawResponse response = post_json(path, body);
    EXPECT_EQ(response.status, 200) << response.body;
    return Json::parse(response.body);
  }
  // The events of a stream, as JSON; the last one must be [DONE].
  std::vector<Json> stream(const std::string& path, Json body) const {
    body["stream"] = true;
    const RawResponse response = post_json(path, body);
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_TRUE(response.complete);
    std::vector<std::string> events = events_of(response.body);
    EXPECT_FALSE(events.empty());
    if (events.empty()) return {};
    EXPECT_EQ(events.back(), "[DONE]");
    events.pop_back();
    std::vector<Json> parsed;
    for (const std::string& event : events) parsed.push_back(Json::parse(event));
    return parsed;
  }
  static Json chat(const std::string& text) {
    return {{"model", "fake"}, {"messages", {{{"role", "user"}, {"content", text}}}}, {"seed", 1}};
  }

  ApiSettings api_settings;
  ServerSettings settings;
  EngineLimits limits;
  std::optional<FakeEngine> engine;
  std::optional<Coordinator> coordinator;
  std::string address;
};

}  // namespace sinkstream::testing
