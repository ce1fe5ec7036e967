// A coordinator whose requests a test sends again.
#pragma once

#include <string>

#include "tests/coordinator/api/sessions/sessions_fixture.h"

namespace sinkstream::testing {

class RetriesTest : public SessionsTest {
 protected:
  RetriesTest() { limits.num_slots = 16; }

  static std::string keyed(const std::string& where, const Json& body, const std::string& key) {
    return post(where, body.dump(), "Idempotency-Key: " + key + "\r\n");
  }
  RawResponse ask_keyed(const std::string& where, const Json& body, const std::string& key) const {
    return ask(keyed(where, body, key));
  }
  static bool is_replayed(const RawResponse& response) {
    const auto found = response.headers.find("idempotent-replayed");
    return found != response.headers.end() && found->second == "true";
  }
  static void expect_same(const RawResponse& first, const RawResponse& again) {
    EXPECT_EQ(first.status, 200) << first.body;
    EXPECT_EQ(again.status, 200) << again.body;
    EXPECT_TRUE(again.complete);
    EXPECT_EQ(first.body, again.body);
    EXPECT_FALSE(is_replayed(first));
    EXPECT_TRUE(is_replayed(again)) << again.raw_head;
  }
  static std::string text_of(const RawResponse& stream) {
    std::string text;
    for (const std::string& event : events_of(stream.body)) {
      if (event != "[DONE]") text += Json::parse(event)["choices"][0]["text"].get<std::string>();
    }
    return text;
  }
  std::size_t num_turns() const { return engine->requests().size(); }
  double metric(const std::string& name) const {
    const std::string text = ask(get("/metrics")).body;
    const std::size_t at = text.find("\n" + name + " ");
    EXPECT_NE(at, std::string::npos) << name;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
};

}  // namespace sinkstream::testing
