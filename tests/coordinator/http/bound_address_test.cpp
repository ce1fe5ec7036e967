#include "coordinator/http/bound_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <stdexcept>

#include "base/error.h"
#include "coordinator/http/server.h"
#include "tests/coordinator/http/raw_client.h"

namespace sinkstream::testing {
namespace {

using ::testing::HasSubstr;

ServerSettings listen_on(const std::string& address) {
  ServerSettings settings;
  settings.listen = address;
  return settings;
}

// What binding says, or "bound".
std::string bind_problem(const std::string& address) {
  try {
    const BoundAddress bound(listen_on(address));
    return "bound";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::bind);
    return error.what();
  }
}

// A server with one route that answers and closes, so that its side of the connection lingers.
class OneServer {
 public:
  explicit OneServer(BoundAddress bound) : server_(listen_on("127.0.0.1:0")) {
    server_.router().add({"GET", "/", [](const auto& exchange) {
                            exchange->respond({200, "text/plain", "here"});
                          }});
    address_ = server_.start(std::move(bound));
  }
  const std::string& address() const { return address_; }

 private:
  Server server_;
  std::string address_;
};

const std::string kCloses = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

std::string free_address() {
  return OneServer(BoundAddress(listen_on("127.0.0.1:0"))).address();
}

TEST(BoundAddress, AnAddressWhereAServerListensIsTaken) {
  const OneServer server(BoundAddress(listen_on("127.0.0.1:0")));
  EXPECT_THAT(bind_problem(server.address()), HasSubstr("cannot listen on " + server.address()));
  EXPECT_THAT(bind_problem(server.address()), HasSubstr("set server.listen to another address"));
}

TEST(BoundAddress, AnAddressThatAnotherHasOnlyBoundIsTakenToo) {
  const std::string address = free_address();
  const BoundAddress first(listen_on(address));
  EXPECT_THAT(bind_problem(address), HasSubstr("cannot listen on " + address));
}

TEST(BoundAddress, ClientsAreRefusedUntilTheServerListens) {
  const std::string address = free_address();
  BoundAddress bound(listen_on(address));
  EXPECT_THROW(ask_once(address, kCloses), std::runtime_error);
  const OneServer server(std::move(bound));
  EXPECT_EQ(server.address(), address);
  EXPECT_EQ(ask_once(address, kCloses).body, "here");
}

TEST(BoundAddress, ARestartDoesNotWaitForOldConnections) {
  std::string address = "127.0.0.1:0";
  for (int i = 0; i < 4; ++i) {
    const OneServer server(BoundAddress(listen_on(address)));
    address = server.address();
    EXPECT_EQ(ask_once(address, kCloses).body, "here");
  }
}

TEST(BoundAddress, ForeignAddressesAreNamed) {
  EXPECT_THAT(bind_problem("192.0.2.1:8000"), HasSubstr("no interface of this machine has that address"));
}

TEST(BoundAddress, APortWithoutRightsSaysHowToGetThem) {
  for (const char* remedy : {"proxy", "setcap", "net.ipv4.ip_unprivileged_port_start"}) {
    EXPECT_THAT(listen_problem("127.0.0.1:80", EACCES), HasSubstr(remedy));
  }
  int first_free_port = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_free_port;
  if (first_free_port <= 1) GTEST_SKIP() << "this machine gives every port to everybody";
  const uid_t user = geteuid();
  constexpr uid_t kNobody = 65534;
  if (user == 0) {
    ASSERT_EQ(seteuid(kNobody), 0);
  }
  const std::string problem = bind_problem("127.0.0.1:1");
  ASSERT_EQ(seteuid(user), 0);
  EXPECT_THAT(problem, HasSubstr("ports below " + std::to_string(first_free_port) + " need a right"));
}

}  // namespace
}  // namespace sinkstream::testing
