// A coordinator whose sessions a test looks into.
#pragma once

#include <string>
#include <vector>

#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {

inline const std::string kSessions = "/v1/sessions";

class SessionsTest : public CoordinatorTest {
 protected:
  SessionsTest() {
    limits.session.sink_capacity = 64;
    api_settings.sessions.max_sessions = 8;
  }
  static std::vector<TokenId> tokens_of(const std::string& text) {
    return tokenizer().encode(text, {.add_special_tokens = false});
  }
  static Json error_of(const RawResponse& response) { return Json::parse(response.body).at("error"); }
  static std::string path(const std::string& id, const std::string& what = "") {
    return kSessions + "/" + id + (what.empty() ? "" : "/" + what);
  }
  std::string open(const Json& body = Json::object()) const { return answer(kSessions, body)["id"]; }
  Json show(const std::string& id) const {
    const RawResponse response = ask(get(path(id)));
    EXPECT_EQ(response.status, 200) << response.body;
    return Json::parse(response.body);
  }
  // After a change that could not be kept; whoever asks before it is undone is told that it can't be.
  bool is_idle_again(const std::string& id) const {
    return eventually([&] {
      const RawResponse response = ask(get(path(id)));
      return response.status == 200 && Json::parse(response.body)["status"] == "idle";
    });
  }
  RawResponse remove(const std::string& id) const {
    return ask("DELETE " + path(id) + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  }
  Json transcript(const std::string& id, const std::string& query = "") const {
    return Json::parse(ask(get(path(id, "transcript") + query)).body);
  }
  Json turn(const std::string& id, Json body) const {
    body["session"] = id;
    return answer(kText, body);
  }
  Json say_to(const std::string& id, const std::string& text) const {
    Json body = chat(text);
    body["session"] = id;
    return answer(kChat, body);
  }
  static Json message(const std::string& role, const std::string& text) {
    return {{"role", role}, {"content", text}};
  }
  std::vector<TokenId> kept() const {  // the only session's
    const auto sessions = engine->sessions();
    EXPECT_EQ(sessions.size(), 1u);
    return sessions.empty() ? std::vector<TokenId>() : sessions.begin()->second.tokens;
  }
  std::vector<TokenId> rendered(const Json& messages, bool generation) const {
    Json body = {{"messages", messages}, {"add_generation_prompt", generation}};
    return answer("/tokenize", body)["tokens"];
  }
};

}  // namespace sinkstream::testing
