#include "coordinator/http/access/access_log.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/coordinator/http/raw_client.h"

namespace sinkstream::testing {
namespace {

AnsweredRequest chat() {
  return {.endpoint = "/v1/chat/completions",
          .status = 200,
          .seconds = 0.0123,
          .id = "req_\"1\\",
          .client = "203.0.113.9",
          .method = "POST",
          .path = "/v1/chat/completions",
          .bytes = 1234,
          .tokens = TokenCounts{5, 60}};
}

// The log's format is the process's.
class LogFormat : public ::testing::Test {
 protected:
  ~LogFormat() override { set_up_log({}, 0); }
};

TEST_F(LogFormat, ALineTellsWhoAskedWhatAndHowItWent) {
  set_up_log({}, 0);
  EXPECT_EQ(access_line(chat()).text,
            "203.0.113.9 POST /v1/chat/completions 200 12.3 ms 5+60 tokens 1234 bytes req_\"1\\");
  AnsweredRequest without_tokens = chat();
  without_tokens.tokens.reset();
  EXPECT_EQ(access_line(without_tokens).text,
            "203.0.113.9 POST /v1/chat/completions 200 12.3 ms 1234 bytes req_\"1\\");
}

TEST_F(LogFormat, AsJsonItHasFields) {
  set_up_log({.format = "json"}, 0);
  const spdlog::log_clock::time_point time{std::chrono::milliseconds(1700000000042)};
  const auto line =
      nlohmann::json::parse(json_log_line(time, spdlog::level::info, 0, access_line(chat()).members));
  EXPECT_EQ(line, nlohmann::json::parse(R"({"time":"2023-11-14T22:13:20.042Z","level":"info","rank":0,
      "message":"request","client":"203.0.113.9","method":"POST","path":"/v1/chat/completions","status":200,
      "ms":12.3,"prompt_tokens":5,"completion_tokens":60,"bytes":1234,"request_id":"req_\"1\\"})"));
}

TEST_F(LogFormat, MessagesAreEscaped) {
  const spdlog::log_clock::time_point time{};
  for (const std::string text : {"a \"b\" \\ \n \x1b", "caf\xe9", "\xe2\x82\xac"}) {
    const std::string line = json_log_line(time, spdlog::level::warn, 3, message_member(text));
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto parsed = nlohmann::json::parse(line);
    EXPECT_EQ(parsed.at("level"), "warning");
    EXPECT_EQ(parsed.at("rank"), 3);
    EXPECT_TRUE(parsed.at("message").is_string());
  }
}

TEST_F(LogFormat, ProbesAreWrittenAtDebugOnly) {
  std::ostringstream written;
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_st>(written)));
  AnsweredRequest probe = chat();
  probe.probe = true;
  log_access(probe);
  EXPECT_EQ(written.str(), "");
  log_access(chat());
  EXPECT_NE(written.str().find("POST /v1/chat/completions 200"), std::string::npos);
  spdlog::default_logger()->set_level(spdlog::level::debug);
  written.str("");
  log_access(probe);
  EXPECT_NE(written.str(), "");
}

// What a server reports of its requests.
TEST(AnsweredRequest, HasClientPathAndTokens) {
  ServerSettings settings;
  settings.listen = "127.0.0.1:0";
  Server server(settings);
  server.router().add({"GET", "/x", [](const auto& exchange) {
                         exchange->note_tokens({3, 4});
                         exchange->respond({200, "text/plain", "x"});
                       }});
  std::vector<AnsweredRequest> answered;
  server.on_answered([&](const AnsweredRequest& request) { answered.push_back(request); });
  const std::string address = server.start();
  ask_once(address,
           "GET http://localhost/x?secret HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n"
           "x-request-id: mine\r\n\r\n");
  ask_once(address, "nonsense\r\n\r\n");
  server.stop();
  ASSERT_EQ(answered.size(), 2u);
  EXPECT_EQ(answered[0].client, "203.0.113.9");
  EXPECT_EQ(answered[0].method, "GET");
  EXPECT_EQ(answered[0].path, "/x");
  EXPECT_EQ(answered[0].id, "mine");
  ASSERT_TRUE(answered[0].tokens);
  EXPECT_EQ(answered[0].tokens->completion, 4);
  EXPECT_EQ(answered[1].client, "127.0.0.1");
  EXPECT_EQ(answered[1].path, "-");
  EXPECT_FALSE(answered[1].tokens);
}

}  // namespace
}  // namespace sinkstream::testing
