#include "coordinator/http/server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/error.h"
#include "tests/coordinator/http/raw_client.h"
#include "tests/patience.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// A server with a few routes of its own.
class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    settings.listen = "127.0.0.1:0";
    settings.max_body_bytes = 1000;
  }

  void start() {
    server.emplace(settings);
    Router& router = server->router();
    router.add({"GET", "/hello",
                [](const auto& exchange) {
                  exchange->respond({200, "text/plain", "hello"});
                },
                true});
    router.add({"POST", "/echo",
                [](const auto& exchange) {
                  exchange->respond({200, "application/json", exchange->take_body()});
                },
                false, true});
    router.add({"POST", "/work",
                [this, may_end = work_may_end.get_future().share()](const auto& exchange) {
                  ++work_begun;
                  may_end.wait();
                  exchange->respond({200, "text/plain", "done"});
                },
                false, true});
    router.add({"GET", "/throw", [](const auto&) { throw std::runtime_error("a secret"); }});
    router.add({"GET", "/forget", [](const auto&) {}});
    router.add({"GET", "/stream", [this](const auto& exchange) {
                  exchange->start_stream();
                  exchange->on_abandoned([this](AbandonCause cause) {
                    cause_of_abandon = cause;
                    ++abandoned;
                  });
                  exchange->send("data: first\n\n");
                  held = exchange;
                }});
    server->on_answered([this](const AnsweredRequest& request) {
      last_endpoint = request.endpoint;
      ++answered;
    });
    address = server->start();
  }

  RawResponse ask(std::string_view request) { return ask_once(address, request); }
  static std::string error_type(const RawResponse& response) {
    return nlohmann::json::parse(response.body).at("error").at("type");
  }
  void TearDown() override {
    if (server) {
      EXPECT_EQ(ask(get("/hello")).body, "hello");  // whatever came before
      held.reset();
      server->stop();
    }
  }

  ServerSettings settings;
  std::optional<Server> server;
  std::string address;
  std::shared_ptr<Exchange> held;
  std::atomic<int> abandoned{0};
  std::atomic<int> answered{0};
  std::atomic<int> work_begun{0};
  std::promise<void> work_may_end;
  std::atomic<AbandonCause> cause_of_abandon{};
  std::string last_endpoint;  // read it when nothing is in flight
};

// ---- framing

TEST_F(ServerTest, KeepsConnectionsAndAnswersPipelinedRequestsInOrder) {
  start();
  RawClient client(address);
  client.send(post("/echo", "1") + get("/hello") + "\r\n" + post("/echo", "2"));
  EXPECT_EQ(client.receive().body, "1");
  EXPECT_EQ(client.receive().body, "hello");
  EXPECT_EQ(client.receive().body, "2");
  client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.receive().headers["connection"], "close");
  EXPECT_TRUE(client.at_end());
}

TEST_F(ServerTest, RequestsMayComeByteByByte) {
  start();
  RawClient client(address);
  for (const char c : post("/echo", "body")) client.send({&c, 1});
  EXPECT_EQ(client.receive().body, "body");
}

TEST_F(ServerTest, TakesChunkedBodies) {
  start();
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n";
  EXPECT_EQ(ask(head + "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n").body, "abcde");
  EXPECT_EQ(ask(head + "FFFFFFFFFFFFFFFF1\r\nabc").status, 400);
  EXPECT_EQ(ask(head + "-1\r\nabc").status, 400);
  EXPECT_EQ(ask(head + "3;" + std::string(65536, 'x') + "\r\nabc\r\n0\r\n\r\n").status, 400);
  EXPECT_EQ(ask(head + "3\r\nabcd\r\n0\r\n\r\n").status, 400);
  EXPECT_EQ(ask(head + "3e9\r\n" + std::string(2000, 'x')).status, 413);
  EXPECT_EQ(ask(head + "1f4\r\n" + std::string(500, 'x') + "\r\n1f5\r\n" + std::string(501, 'x')).status,
            413);
}

TEST_F(ServerTest, AnswersHeadAndOptions) {
  start();
  const RawResponse head = ask("HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "5");
  const RawResponse options = ask("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.at("allow"), "POST, OPTIONS");
  EXPECT_FALSE(options.headers.contains("access-control-allow-origin"));
  EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204);
}

TEST_F(ServerTest, SpeaksHttp10) {
  start();
  const RawResponse plain = ask("GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_EQ(plain.body, "hello");
  EXPECT_EQ(plain.headers.at("connection"), "close");
  RawClient client(address);
  client.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  held->finish_stream();
  const RawResponse stream = client.receive();
  EXPECT_FALSE(stream.headers.contains("transfer-encoding"));
  EXPECT_EQ(stream.body, "data: first\n\n");
}

TEST_F(ServerTest, EveryResponseHasARequestId) {
  start();
  EXPECT_TRUE(ask(get("/hello")).headers.at("x-request-id").starts_with("req_"));
  EXPECT_EQ(ask("GET /hello HTTP/1.1\r\nHost: localhost\r\nx-request-id: mine-1\r\n\r\n")
                .headers.at("x-request-id"),
            "mine-1");
  for (const std::string& bad : {std::string(129, 'x'), std::string("a b"), std::string("caf\xe9")}) {
    const RawResponse response =
        ask("GET /hello HTTP/1.1\r\nHost: localhost\r\nx-request-id: " + bad + "\r\n\r\n");
    EXPECT_TRUE(response.headers.at("x-request-id").starts_with("req_"));
  }
  EXPECT_TRUE(ask("nonsense\r\n\r\n").headers.contains("x-request-id"));
  EXPECT_TRUE(ask(get("/nowhere")).headers.contains("x-request-id"));
}

// ---- refusals

TEST_F(ServerTest, RefusesWhatIsNotThere) {
  start();
  EXPECT_EQ(ask(get("/nowhere")).status, 404);
  EXPECT_EQ(error_type(ask(get("/nowhere"))), "not_found_error");
  EXPECT_EQ(ask(get("/../etc/passwd")).status, 404);
  const RawResponse wrong_method = ask(get("/echo"));
  EXPECT_EQ(wrong_method.status, 405);
  EXPECT_EQ(wrong_method.headers.at("allow"), "POST, OPTIONS");
  EXPECT_EQ(error_type(wrong_method), "invalid_request_error");
}

TEST_F(ServerTest, RefusalsCountUnderTheirRoute) {
  start();
  const auto endpoint_of = [&](const std::string& request, int status) {
    const int before = answered;
    EXPECT_EQ(ask(request).status, status) << request;
    EXPECT_TRUE(eventually([&] { return answered > before; }));
    return last_endpoint;
  };
  EXPECT_EQ(endpoint_of(get("/echo"), 405), "/echo");
  EXPECT_EQ(endpoint_of("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 415),
            "/echo");
  EXPECT_EQ(endpoint_of(post("/echo", std::string(1001, 'x')), 413), "/echo");
  EXPECT_EQ(endpoint_of("GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403), "/hello");
  EXPECT_EQ(endpoint_of(get("/nowhere"), 404), "other");
  EXPECT_EQ(endpoint_of("nonsense\r\n\r\n", 400), "other");
}

TEST_F(ServerTest, RefusesBodiesItCannotTake) {
  start();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";
  EXPECT_EQ(ask(head + "Content-Length: 2\r\n\r\n{}").status, 415);
  EXPECT_EQ(ask(head + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}").status, 415);
  EXPECT_EQ(
      ask(head + "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
          .status,
      415);
  EXPECT_EQ(ask(head + "Content-Type: Application/JSON ; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}").body,
            "{}");
}

TEST_F(ServerTest, RefusesLongBodiesBeforeReadingThem) {
  start();
  for (const char* expect : {"", "Expect: 100-continue\r\n"}) {
    RawClient client(address);
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
                std::string(expect) + "Content-Length: 1001\r\n\r\n");
    ASSERT_TRUE(client.receive_until("\r\n"));
    EXPECT_TRUE(client.unread().starts_with("HTTP/1.1 413 ")) << client.unread();
    EXPECT_EQ(client.receive().headers["connection"], "close");
    EXPECT_TRUE(client.at_end());
  }
}

TEST_F(ServerTest, ContinuesWhenAskedTo) {
  start();
  RawClient client(address);
  client.send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
      "Content-Length: 4\r\n\r\n");
  ASSERT_TRUE(client.receive_until("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send("body");
  EXPECT_EQ(client.receive().body, "body");
}

TEST_F(ServerTest, BinaryGarbageAndEmptyConnectionsHurtNobody) {
  start();
  using namespace std::string_literals;
  for (const std::string& bytes :
       {"\x16\x03\x01\x02\x00\x01"s, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"s, "\0\0\0\0"s}) {
    RawClient client(address);
    client.send(bytes);
    EXPECT_EQ(client.receive().status, 400);
    EXPECT_TRUE(client.at_end());
  }
  for (int i = 0; i < 50; ++i) RawClient client(address);
}

TEST_F(ServerTest, AnEndpointThatThrowsOrForgetsGivesA500WithoutDetails) {
  start();
  for (const char* path : {"/throw", "/forget"}) {
    const RawResponse response = ask(get(path));
    EXPECT_EQ(response.status, 500);
    EXPECT_EQ(error_type(response), "server_error");
    EXPECT_EQ(response.body.find("secret"), std::string::npos);
  }
}

// ---- deadlines

TEST_F(ServerTest, DeadlinesOfHeadAndBodyAreAbsolute) {
  settings.header_seconds = 1;
  settings.body_seconds = 1;
  start();
  for (const std::string& beginning :
       {std::string("GET /hello HTTP/1.1\r\nX: "), post("/echo", std::string(900, 'x')).substr(0, 140)}) {
    RawClient client(address);
    client.send(beginning);
    auto answer = std::async(std::launch::async, [&] { return client.receive(); });
    while (answer.wait_for(50ms) != std::future_status::ready) client.send("x");  // which does not move them
    EXPECT_EQ(answer.get().status, 408);
  }
}

TEST_F(ServerTest, IdleConnectionsAreClosed) {
  settings.header_seconds = 1;
  settings.idle_seconds = 0.2;
  start();
  RawClient silent(address);
  RawClient idle(address);
  idle.send(get("/hello"));
  EXPECT_EQ(idle.receive().body, "hello");
  EXPECT_TRUE(silent.at_end());
  EXPECT_TRUE(idle.at_end());
}

TEST_F(ServerTest, SlowClientsDoNotKeepOthersWaiting) {
  settings.header_seconds = 600;  // who waited for them would wait too long for this test
  start();
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 100; ++i) {
    slow.push_back(std::make_unique<RawClient>(address));
    slow.back()->send("GET /hello HT");
  }
  EXPECT_EQ(ask(get("/hello")).body, "hello");
}

// ---- streams

TEST_F(ServerTest, StreamsEventsAndPings) {
  settings.ping_seconds = 0.1;
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until(": ping\n\n"));
  held->send("data: second\n\n");
  held->finish_stream();
  const RawResponse response = client.receive();
  EXPECT_EQ(response.headers.at("content-type"), "text/event-stream");
  EXPECT_EQ(response.headers.at("cache-control"), "no-cache, no-transform");
  EXPECT_EQ(response.headers.at("x-accel-buffering"), "no");
  EXPECT_EQ(events_of(response.body), (std::vector<std::string>{"first", "second"}));
  EXPECT_TRUE(response.complete);
  client.send(get("/hello"));
  EXPECT_EQ(client.receive().body, "hello");
}

TEST_F(ServerTest, APipelinedRequestWaitsForTheEndOfAStream) {
  start();
  RawClient client(address);
  client.send(get("/stream") + get("/hello"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(client.unread().find("hello"), std::string::npos);
  held->finish_stream();
  EXPECT_TRUE(client.receive().complete);
  EXPECT_EQ(client.receive().body, "hello");
}

TEST_F(ServerTest, AFailedStreamBreaksOffAfterAnErrorEvent) {
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  held->fail(unavailable("lost"));
  const RawResponse response = client.receive();
  const auto events = events_of(response.body);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(events[1])["error"]["message"], "lost");
  EXPECT_FALSE(response.complete);
  EXPECT_TRUE(client.at_end());
}

TEST_F(ServerTest, ADisconnectIsNoticedWhileNothingIsSent) {
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  EXPECT_EQ(abandoned, 0);
  client.close();
  EXPECT_TRUE(eventually([&] { return abandoned == 1; }));
  EXPECT_TRUE(eventually([&] { return answered == 1; }));
  EXPECT_EQ(cause_of_abandon, AbandonCause::client_left);
}

// More than is buffered, here and in the kernel: the end of the connection is behind all that.
TEST_F(ServerTest, ADisconnectIsNoticedBehindManyPipelinedRequests) {
  start();
  std::string requests;
  while (requests.size() < 4'000'000) requests += get("/hello");
  RawClient client(address);
  std::thread sender([&] { client.send(get("/stream") + requests); });
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  sender.join();
  client.half_close();
  EXPECT_TRUE(eventually([&] { return abandoned == 1; }));
  EXPECT_TRUE(eventually([&] { return answered == 1; }));
}

TEST_F(ServerTest, WhoPilesUpTooManyRequestsGetsOneAnswer) {
  settings.max_header_bytes = 1024;
  settings.pipeline_seconds = 0.1;
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  std::string requests;
  while (requests.size() < 12'000'000) requests += get("/hello");
  client.send(requests);  // more than sockets hold: done when the server has dropped the most
  held->finish_stream();
  EXPECT_TRUE(client.receive().complete);
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(answered, 1);
  EXPECT_EQ(abandoned, 0);
}

// Half-closing counts as leaving, but for what is answered at once.
TEST_F(ServerTest, WhoSendsNoMoreHasLeft) {
  start();
  RawClient quick(address);
  quick.send(get("/hello"));
  quick.half_close();
  EXPECT_EQ(quick.receive().body, "hello");
  RawClient client(address);
  client.send(get("/stream"));
  client.half_close();
  EXPECT_TRUE(eventually([&] { return abandoned == 1; }));
  EXPECT_EQ(cause_of_abandon, AbandonCause::client_left);
}

TEST_F(ServerTest, AReaderThatStallsIsPausedThenDropped) {
  settings.max_stream_buffer_bytes = 10000;
  settings.stall_seconds = 0.3;
  start();
  RawClient client(address);
  client.shrink_receive_buffer();
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  const std::string event = "data: " + std::string(1000, 'x') + "\n\n";
  std::size_t sent = 0;
  ASSERT_TRUE(eventually([&] {
    for (int i = 0; i < 100 && !held->backlogged(); ++i, sent += event.size()) held->send(event);
    return abandoned == 1;
  }));
  EXPECT_EQ(cause_of_abandon, AbandonCause::client_stalled);
  EXPECT_LT(sent, 4'000'000u);  // the kernel's buffers and ours are bounded
}

TEST_F(ServerTest, AReaderThatCatchesUpGoesOn) {
  settings.max_stream_buffer_bytes = 10000;
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  const std::string event = "data: " + std::string(1000, 'x') + "\n\n";
  std::size_t events = 1;
  std::atomic<int> times_with_room{0};
  held->on_room([&] { ++times_with_room; });
  while (!held->backlogged() && events < 100000) held->send(event), ++events;
  const int times_before = times_with_room;
  ASSERT_TRUE(held->backlogged());
  std::thread finisher([&] {
    EXPECT_TRUE(eventually([&] { return times_with_room > times_before; }));
    held->finish_stream();
  });
  const RawResponse response = client.receive();
  finisher.join();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(events_of(response.body).size(), events);
}

// ---- load and end

TEST_F(ServerTest, LargeBodiesKeepNobodyWaiting) {
  settings.body_seconds = 600;
  settings.max_body_bytes = 1'000'000;
  start();
  const std::string large = post("/work", std::string(1'000'000, 'x'));
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 16; ++i) {  // all that there is memory for
    clients.push_back(std::make_unique<RawClient>(address));
    clients.back()->send(large);
    ASSERT_TRUE(eventually([&] { return work_begun == 1; }));
  }
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(ask(post("/echo", "small")).body, "small");  // the work does not end before work_may_end
  }
  EXPECT_EQ(ask(large).status, 503);
  EXPECT_EQ(work_begun, 1);
  while (clients.size() > 1) clients.pop_back();  // their work is not done any more
  EXPECT_TRUE(eventually([&] { return answered == 10 + 1 + 15; }));
  work_may_end.set_value();
  EXPECT_EQ(clients.front()->receive().body, "done");
  EXPECT_TRUE(eventually([&] { return ask(large).body == "done"; }));
  EXPECT_LE(work_begun, 3);
}

TEST_F(ServerTest, MoreConnectionsThanAllowedWaitForTheirTurn) {
  settings.max_connections = 2;
  start();
  auto first = std::make_unique<RawClient>(address);
  auto second = std::make_unique<RawClient>(address);
  first->send(get("/hello"));
  second->send(get("/hello"));
  EXPECT_EQ(first->receive().body, "hello");
  EXPECT_EQ(second->receive().body, "hello");
  RawClient third(address);
  third.send(get("/hello"));
  std::this_thread::sleep_for(100ms);
  first.reset();
  EXPECT_EQ(third.receive().body, "hello");
}

TEST_F(ServerTest, RunningOutOfFileDescriptorsIsSurvived) {
  start();
  rlimit original = {};
  getrlimit(RLIMIT_NOFILE, &original);
  RawClient waiting(address);
  const int next_descriptor = dup(0);
  close(next_descriptor);
  rlimit low = original;
  low.rlim_cur = static_cast<rlim_t>(next_descriptor) + 1;
  RawClient client(address);  // takes the last free descriptor; the server has none left for its side
  setrlimit(RLIMIT_NOFILE, &low);
  client.send(get("/hello"));
  std::this_thread::sleep_for(300ms);
  setrlimit(RLIMIT_NOFILE, &original);
  EXPECT_EQ(client.receive().body, "hello");
}

TEST_F(ServerTest, DrainAndFail) {
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  server->begin_drain();
  EXPECT_EQ(ask(get("/hello")).headers.at("connection"), "close");
  EXPECT_FALSE(server->wait_until_idle(Clock::now() + 50ms));
  server->fail(unavailable("the end"));
  EXPECT_EQ(abandoned, 1);
  EXPECT_EQ(cause_of_abandon, AbandonCause::server_ended);
  EXPECT_TRUE(server->wait_until_idle(Clock::now()));
  const RawResponse response = client.receive();
  EXPECT_NE(response.body.find("the end"), std::string::npos);
  EXPECT_FALSE(response.complete);
}

TEST_F(ServerTest, StopAbandonsWhatIsInFlight) {
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  server->stop();
  EXPECT_EQ(abandoned, 1);
  const RawResponse response = client.receive();
  EXPECT_FALSE(response.complete);
  EXPECT_NE(response.body.find("The server is ending."), std::string::npos);
  held.reset();
  server.reset();
}

TEST_F(ServerTest, AnExchangeMayOutliveItsServer) {
  start();
  RawClient client(address);
  client.send(get("/stream"));
  ASSERT_TRUE(client.receive_until("data: first\n\n"));
  server->stop();
  server.reset();
  held->send("data: late\n\n");
  held.reset();
}

TEST_F(ServerTest, BadAddressesAreRefused) {
  for (const char* listen :
       {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "localhost:x", "[::1:80", "a b:80"}) {
    settings.listen = listen;
    EXPECT_THROW(Server{settings}, StartupError) << listen;
  }
}

TEST_F(ServerTest, SettingsOutOfRangeAreNamed) {
  const auto message = [&](auto change) -> std::string {
    ServerSettings bad = settings;
    change(bad);
    try {
      Server server_of_bad(bad);
    } catch (const StartupError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_TRUE(message([](auto& s) { s.max_body_bytes = 0; }).starts_with("server.max_body_bytes: "));
  EXPECT_TRUE(message([](auto& s) { s.max_connections = -1; }).starts_with("server.max_connections: "));
  EXPECT_TRUE(message([](auto& s) { s.header_seconds = 0; }).starts_with("server.header_seconds: "));
  EXPECT_TRUE(message([](auto& s) { s.drain_seconds = std::nan(""); }).starts_with("server.drain_seconds: "));
  EXPECT_TRUE(
      message([](auto& s) { s.allowed_hosts = {"a:80"}; }).starts_with("server.allowed_hosts: 'a:80'"));
  EXPECT_EQ(message([](auto& s) { s.drain_seconds = 0; }), "accepted");
}

// ---- access

class AccessTest : public ServerTest {
 protected:
  void use_keys() {
    settings.api_key_file = directory_.write("keys", "# operators\nfirst-key\n\n  second-key \r\n");
  }
  RawResponse ask_with(const std::string& headers, const std::string& path = "/stream") {
    return ask("HEAD " + path + " HTTP/1.1\r\n" + headers + "\r\n");
  }

  const TemporaryDirectory directory_;
};

TEST_F(AccessTest, KeysAreAskedForOnEveryRouteThatIsNotOpen) {
  use_keys();
  start();
  for (const char* path : {"/stream", "/throw", "/nowhere"}) {
    EXPECT_EQ(ask_with("Host: a\r\n", path).status, 401) << path;
    EXPECT_EQ(ask_with("Host: a\r\nAuthorization: Bearer first-ke\r\n", path).status, 401) << path;
    EXPECT_EQ(ask_with("Host: a\r\nAuthorization: Bearer " + std::string(10000, 'x') + "\r\n", path).status,
              401);
    EXPECT_EQ(ask_with("Host: a\r\nAuthorization: Basic first-key\r\n", path).status, 401) << path;
    EXPECT_EQ(ask_with("Host: a\r\nx-api-key: first-keyfirst-key\r\n", path).status, 401) << path;
  }
  EXPECT_EQ(ask(post("/echo", "{}")).status, 401);
  const RawResponse refused = ask(get("/throw"));
  EXPECT_EQ(error_type(refused), "authentication_error");
  EXPECT_EQ(refused.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(ask(post("/echo", "{}", "Authorization: bearer first-key\r\n")).status, 200);
  EXPECT_EQ(ask(post("/echo", "{}", "x-api-key: second-key\r\n")).status, 200);
  EXPECT_EQ(ask(post("/echo", "{}", "Origin: https://elsewhere.example\r\nx-api-key: second-key\r\n")).status,
            200);
  EXPECT_EQ(ask(get("/hello")).status, 200);
}

TEST_F(AccessTest, ForeignHostsAndOriginsAreRefusedOnLoopback) {
  start();
  for (const char* host : {"localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]"}) {
    EXPECT_EQ(ask("GET /hello HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n").status, 200) << host;
  }
  for (const char* host : {"evil.example", "127.0.0.1.evil.example", "192.168.0.1"}) {
    EXPECT_EQ(ask("GET /hello HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n").status, 403) << host;
  }
  const auto with_origin = [&](const std::string& origin) {
    return ask("GET /hello HTTP/1.1\r\nHost: localhost\r\nOrigin: " + origin + "\r\n\r\n").status;
  };
  EXPECT_EQ(with_origin("http://localhost:8000"), 200);
  EXPECT_EQ(with_origin("https://127.0.0.1"), 200);
  for (const char* origin : {"null", "http://evil.example", "http://localhost.evil.example", "localhost"}) {
    EXPECT_EQ(with_origin(origin), 403) << origin;
  }
}

// RFC 9112, 3.2.2: the Host header does not count beside it.
TEST_F(AccessTest, TheAuthorityOfAnAbsoluteTargetCounts) {
  start();
  const auto status = [&](const std::string& target, const std::string& host) {
    return ask("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  EXPECT_EQ(status("http://" + address + "/hello", "evil.example"), 200);
  EXPECT_EQ(status("http://localhost/hello?x", "localhost"), 200);
  EXPECT_EQ(status("http://evil.example/hello", "localhost"), 403);
  EXPECT_EQ(status("https://localhost/hello", "localhost"), 421);
  EXPECT_EQ(ask("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 501);
  EXPECT_EQ(ask("OPTIONS http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n").headers.at("allow"),
            "GET, HEAD, POST, OPTIONS");
}

TEST_F(AccessTest, AllowedHostsAreOwnNames) {
  settings.allowed_hosts = {"chat.example", "[fe80::1]"};
  start();
  for (const char* host : {"localhost", "chat.example", "Chat.Example:443", "[fe80::1]:80"}) {
    EXPECT_EQ(ask("GET /hello HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n").status, 200) << host;
  }
  for (const char* host : {"evil.example", "a.chat.example", "chat.example.evil.example"}) {
    const RawResponse refused = ask("GET /hello HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n");
    EXPECT_EQ(refused.status, 403) << host;
    EXPECT_NE(refused.body.find("server.allowed_hosts"), std::string::npos);
  }
}

TEST_F(AccessTest, AnyHostIsAllowedByAStar) {
  settings.allowed_hosts = {"*"};
  start();
  EXPECT_EQ(ask("GET /hello HTTP/1.1\r\nHost: anything.example\r\n\r\n").status, 200);
}

TEST_F(AccessTest, APublicAddressNeedsKeys) {
  settings.listen = "0.0.0.0:0";
  EXPECT_THROW(Server{settings}, StartupError);
  settings.insecure = true;
  EXPECT_NO_THROW(Server{settings});
  settings.insecure = false;
  use_keys();
  EXPECT_NO_THROW(Server{settings});
  settings.api_key_file = "/nowhere/keys";
  EXPECT_THROW(Server{settings}, StartupError);
  settings.api_key_file = "/dev/null";
  EXPECT_THROW(Server{settings}, StartupError);
}

}  // namespace
}  // namespace sinkstream::testing
