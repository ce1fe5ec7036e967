// A key that has had its tokens of the minute.
#include "tests/coordinator/api/sessions/sessions_fixture.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

class QuotaTest : public SessionsTest {
 protected:
  QuotaTest() {
    settings.api_key_file = directory.write("keys", "anna\nbert\n").string();
    settings.tokens_per_minute = 100;
  }
  RawResponse ask_as(const std::string& who, const std::string& where, const Json& body) const {
    return ask(post(where, body.dump(), "x-api-key: " + who + "\r\n"));
  }

  const TemporaryDirectory directory;
};

TEST_F(QuotaTest, PromptsAndAnswersAreCounted) {
  start();
  const Json body = {{"prompt", std::vector<TokenId>(60, 5)}, {"max_tokens", 30}, {"ignore_eos", true}};
  const RawResponse first = ask_as("anna", kText, body);
  EXPECT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(first.headers.at("x-ratelimit-limit-tokens"), "100");
  EXPECT_EQ(first.headers.at("x-ratelimit-remaining-tokens"), "40") << "before anything is generated";
  const std::size_t before = engine->requests().size();
  const RawResponse refused = ask_as("anna", kText, body);
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(error_of(refused)["type"], "tokens");
  EXPECT_LE(std::stoi(refused.headers.at("retry-after")), 30) << "for 50 more";
  EXPECT_LT(std::stoi(refused.headers.at("x-ratelimit-remaining-tokens")), 60);
  EXPECT_EQ(engine->requests().size(), before);
  EXPECT_EQ(ask_as("bert", kText, body).status, 200);
  EXPECT_NE(ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nx-api-key: anna\r\n\r\n")
                .body.find("\nsinkstream_quota_refusals_total 1\n"),
            std::string::npos);
}

TEST_F(QuotaTest, SessionsAreCountedAndStayAsTheyAre) {
  start();
  const std::string id = Json::parse(ask_as("anna", kSessions, Json::object()).body)["id"];
  const Json appended = {{"prompt", std::vector<TokenId>(60, 5)}};
  EXPECT_EQ(ask_as("anna", path(id, "append"), appended).status, 200);
  EXPECT_EQ(ask_as("anna", path(id, "append"), appended).status, 429);
  EXPECT_EQ(ask_as("anna", kText, {{"session", id}, {"prompt", std::vector<TokenId>(60, 5)}}).status, 429);
  const RawResponse shown =
      ask("GET " + path(id) + " HTTP/1.1\r\nHost: localhost\r\nx-api-key: anna\r\n\r\n");
  EXPECT_EQ(Json::parse(shown.body)["seen_tokens"], 60);
  EXPECT_EQ(Json::parse(shown.body)["status"], "idle");
}

}  // namespace
}  // namespace sinkstream::testing
