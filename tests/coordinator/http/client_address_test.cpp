#include "coordinator/http/access/client_address.h"

#include <gtest/gtest.h>

namespace sinkstream {
namespace {

namespace ip = boost::asio::ip;

std::string client(const std::string& peer, const std::vector<Header>& headers,
                   const std::vector<std::string>& trusted = {"127.0.0.1", "::1", "10.0.0.0/8", "fd00::/8"}) {
  Request request;
  request.headers = headers;
  return client_address(ip::make_address(peer), request, TrustedProxies(trusted));
}

TEST(ClientAddress, IsThePeerUnlessThatIsTrusted) {
  EXPECT_EQ(client("192.0.2.7", {}), "192.0.2.7");
  EXPECT_EQ(client("192.0.2.7", {{"X-Forwarded-For", "203.0.113.9"}}), "192.0.2.7");
  EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", "203.0.113.9"}}), "203.0.113.9");
  EXPECT_EQ(client("::ffff:127.0.0.1", {{"x-forwarded-for", "203.0.113.9"}}), "203.0.113.9");
  EXPECT_EQ(client("::ffff:192.0.2.7", {}), "192.0.2.7");
  EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", "203.0.113.9"}}, {}), "127.0.0.1");
}

TEST(ClientAddress, IsTheLastThatATrustedOneNamed) {
  EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", "198.51.100.1, 203.0.113.9"}}), "203.0.113.9")
      << "what stands before it, the client may have made up";
  EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", "198.51.100.1, 203.0.113.9, 10.1.2.3"}}), "203.0.113.9");
  EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", "203.0.113.9"}, {"X-Forwarded-For", "10.1.2.3"}}),
            "203.0.113.9");
  EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", "10.1.2.3"}}), "10.1.2.3");
  EXPECT_EQ(client("fd00::1", {{"X-Forwarded-For", "2001:db8::5"}}), "2001:db8::5");
}

TEST(ClientAddress, TakesTheForwardedFieldWhereThereIsNoOther) {
  EXPECT_EQ(client("127.0.0.1", {{"Forwarded", "for=203.0.113.9;proto=https"}}), "203.0.113.9");
  EXPECT_EQ(client("127.0.0.1", {{"Forwarded", "by=a; For=\"[2001:db8::5]:4711\""}}), "2001:db8::5");
  EXPECT_EQ(client("127.0.0.1", {{"Forwarded", "for=198.51.100.1, for=203.0.113.9"}}), "203.0.113.9");
  EXPECT_EQ(client("127.0.0.1", {{"Forwarded", "for=1.1.1.1"}, {"X-Forwarded-For", "203.0.113.9"}}),
            "203.0.113.9");
}

TEST(ClientAddress, WhatIsNoAddressIsNotWritten) {
  for (const char* text : {"", "unknown", "_hidden", "a\x1b[31m", "1.2.3", "1.2.3.4.5", "[::1", ",", "\"",
                           "fe80::1%a b", "999.1.1.1", "for=1.2.3.4"}) {
    EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", text}}),
              text == std::string("[::1") ? "::1" : "127.0.0.1")
        << text;
    EXPECT_NO_THROW(client("127.0.0.1", {{"Forwarded", text}})) << text;
  }
  EXPECT_EQ(client("127.0.0.1", {{"X-Forwarded-For", "203.0.113.9:4711"}}), "203.0.113.9");
}

TEST(TrustedProxies, AreAddressesAndNetworks) {
  for (const char* item : {"127.0.0.1", "::1", "10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "192.0.2.7/32"}) {
    EXPECT_EQ(trusted_proxy_problem(item), "") << item;
  }
  for (const char* item : {"", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x",
                           "::/129", "*", "fe80::1%eth0"}) {
    EXPECT_NE(trusted_proxy_problem(item), "") << item;
  }
  const TrustedProxies some({"10.0.0.128/25"});
  EXPECT_TRUE(some.contains(ip::make_address("10.0.0.200")));
  EXPECT_FALSE(some.contains(ip::make_address("10.0.0.100")));
  EXPECT_FALSE(some.contains(ip::make_address("::a00:80")));
}

}  // namespace
}  // namespace sinkstream
