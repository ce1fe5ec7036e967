#include "coordinator/http/access/cross_origin.h"

#include <gtest/gtest.h>

#include <memory>

#include "coordinator/http/server.h"
#include "tests/coordinator/http/raw_client.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

TEST(NormalOrigin, IsWhatBrowsersSend) {
  EXPECT_EQ(normal_origin("https://Chat.Example"), "https://chat.example");
  EXPECT_EQ(normal_origin("HTTPS://chat.example:443"), "https://chat.example");
  EXPECT_EQ(normal_origin("http://chat.example:80"), "http://chat.example");
  EXPECT_EQ(normal_origin("http://chat.example:443"), "http://chat.example:443");
  EXPECT_EQ(normal_origin("http://[::1]:3000"), "http://[::1]:3000");
  EXPECT_EQ(normal_origin("chrome-extension://abcdef"), "chrome-extension://abcdef");
  EXPECT_EQ(normal_origin("null"), "null");
  for (const char* text : {"", "*", "chat.example", "https://", "https://a/", "https://a/b", "https://u@a",
                           "https://a:b", "//a", "https://a,b"}) {
    EXPECT_EQ(normal_origin(text), std::nullopt) << text;
  }
}

class CrossOriginTest : public ::testing::Test {
 protected:
  void start() {
    settings.listen = "127.0.0.1:0";
    server = std::make_unique<Server>(settings);
    Router& router = server->router();
    router.add({"GET", "/get", [](const auto& exchange) { exchange->respond({200, "text/plain", "got"}); }});
    router.add({"POST", "/post",
                [](const auto& exchange) {
                  exchange->respond({200, "text/plain", "posted"});
                },
                false, true});
    router.add({"GET", "/stream", [](const auto& exchange) {
                  exchange->start_stream();
                  exchange->send("data: 1\n\n");
                  exchange->finish_stream();
                }});
    router.add({"GET", "/busy", [](const auto& exchange) { exchange->fail(too_busy("full")); }});
    address = server->start();
  }
  void use_keys() { settings.api_key_file = directory_.write("keys", "the-key\n"); }
  RawResponse ask(const std::string& method, const std::string& path, const std::string& fields) {
    return ask_once(address, method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n");
  }
  RawResponse preflight(const std::string& origin, const std::string& path = "/post") {
    return ask("OPTIONS", path,
               "Origin: " + origin +
                   "\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: "
                   "authorization,content-type,x-stainless-os\r\n");
  }
  static std::string field(const RawResponse& response, const std::string& name) {
    const auto found = response.headers.find(name);
    return found == response.headers.end() ? "" : found->second;
  }
  static std::string allowed_origin(const RawResponse& response) {
    return field(response, "access-control-allow-origin");
  }

  ServerSettings settings;
  std::unique_ptr<Server> server;
  std::string address;

  const TemporaryDirectory directory_;
};

const std::string kPage = "https://chat.example";

TEST_F(CrossOriginTest, APreflightNeedsNoKey) {
  use_keys();
  settings.allowed_origins = {"https://Chat.example:443/"};
  EXPECT_ANY_THROW(start());
  settings.allowed_origins = {"http://other.example", "https://Chat.example:443"};
  start();
  const RawResponse answer = preflight(kPage);
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(allowed_origin(answer), kPage);
  EXPECT_EQ(field(answer, "access-control-allow-methods"), "POST, OPTIONS");
  EXPECT_EQ(field(answer, "access-control-allow-headers"), "authorization,content-type,x-stainless-os");
  EXPECT_EQ(field(answer, "access-control-max-age"), "7200");
  EXPECT_NE(answer.raw_head.find("Vary: Origin\r\n"), std::string::npos);
  EXPECT_EQ(field(answer, "access-control-allow-private-network"), "");
  EXPECT_EQ(preflight(kPage, "/nowhere").status, 204);
  EXPECT_EQ(field(ask("OPTIONS", "/get",
                      "Origin: https://chat.example\r\nAccess-Control-Request-Method: GET\r\n"
                      "Access-Control-Request-Private-Network: true\r\n"),
                  "access-control-allow-private-network"),
            "true");
  EXPECT_EQ(ask("OPTIONS", "/get", "").status, 401) << "no browser asks so";
}

TEST_F(CrossOriginTest, EveryAnswerToAnAllowedPageCanBeRead) {
  use_keys();
  settings.allowed_origins = {kPage};
  start();
  const std::string origin = "Origin: " + kPage + "\r\n";
  const std::string key = origin + "Authorization: Bearer the-key\r\n";
  const auto expect_readable = [&](const RawResponse& response, int status) {
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(allowed_origin(response), kPage);
    EXPECT_EQ(
        field(response, "access-control-expose-headers"),
        "x-request-id, x-sinkstream-warning, Idempotent-Replayed, Retry-After, x-ratelimit-limit-tokens, "
        "x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens");
    EXPECT_EQ(field(response, "vary"), "Origin");
  };
  expect_readable(ask("GET", "/get", key), 200);
  expect_readable(ask("GET", "/stream", key), 200);
  expect_readable(ask("GET", "/busy", key), 429);
  expect_readable(ask("GET", "/nowhere", key), 404);
  expect_readable(ask("GET", "/post", key), 405);
  expect_readable(ask("POST", "/post", key + "Content-Length: 0\r\n"), 415);
  expect_readable(ask("GET", "/get", origin), 401);
  EXPECT_EQ(field(ask("GET", "/get", "x-api-key: the-key\r\n"), "vary"), "Origin") << "caches must know";
}

TEST_F(CrossOriginTest, OtherPagesGetNoLeave) {
  use_keys();
  settings.allowed_origins = {kPage};
  start();
  for (const char* origin : {"http://chat.example", "https://chat.example:444", "https://chat.example.evil",
                             "https://a.chat.example", "null", "*"}) {
    EXPECT_EQ(allowed_origin(preflight(origin)), "") << origin;
    EXPECT_EQ(field(preflight(origin), "access-control-allow-methods"), "") << origin;
    EXPECT_EQ(
        allowed_origin(ask("GET", "/get", "x-api-key: the-key\r\nOrigin: " + std::string(origin) + "\r\n")),
        "")
        << origin;
  }
}

TEST_F(CrossOriginTest, NoPageIsAllowedByDefault) {
  use_keys();
  start();
  const RawResponse answer = preflight(kPage);
  EXPECT_EQ(answer.status, 204);
  for (const auto& [name, value] : answer.headers) EXPECT_FALSE(name.starts_with("access-control-")) << name;
}

TEST_F(CrossOriginTest, WithoutKeysForeignPagesAreToldTheSetting) {
  settings.allowed_origins = {kPage};
  start();
  EXPECT_EQ(preflight(kPage).status, 204);
  EXPECT_EQ(ask("GET", "/get", "Origin: " + kPage + "\r\n").status, 200);
  const RawResponse refused = ask("GET", "/get", "Origin: https://evil.example\r\n");
  EXPECT_EQ(refused.status, 403);
  EXPECT_NE(refused.body.find("server.allowed_origins"), std::string::npos) << refused.body;
  EXPECT_EQ(preflight("https://evil.example").status, 403);
}

TEST_F(CrossOriginTest, AStarAllowsAllPages) {
  settings.allowed_origins = {"*"};
  start();
  for (const char* origin : {"https://anything.example", "null", "chrome-extension://abc"}) {
    EXPECT_EQ(allowed_origin(preflight(origin)), "*");
    EXPECT_EQ(allowed_origin(ask("GET", "/get", "Origin: " + std::string(origin) + "\r\n")), "*");
  }
  EXPECT_EQ(
      ask_once(address, "GET /get HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n")
          .status,
      403)
      << "a name that resolves to this machine is still none of its own";
}

TEST_F(CrossOriginTest, OnlyNamesOfHeadersAreEchoed) {
  settings.allowed_origins = {kPage};
  start();
  const RawResponse answer = ask("OPTIONS", "/post",
                                 "Origin: " + kPage +
                                     "\r\nAccess-Control-Request-Method: POST\r\n"
                                     "Access-Control-Request-Headers: a; \"b\"\r\n");
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(field(answer, "access-control-allow-headers"), "");
}

}  // namespace
}  // namespace sinkstream::testing
