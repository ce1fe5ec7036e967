// Clients that leave, queues that fill, groups that are lost, servers that end.
#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

const std::string kToken = R"("delta":{"content")";  // only in chunks with text

class Lifecycle : public CoordinatorTest {
 protected:
  std::string endless_chat(bool streamed) {
    Json request = chat("go on");
    request["stream"] = streamed;
    request["max_tokens"] = 100000;
    return post(kChat, request.dump());
  }
  void go_on_for_ever() {
    say("word ", true);
    engine->set_token_time(1ms);
  }
  // One streamed, one whole; both are under way.
  void begin_endless_answers(RawClient& stream, RawClient& whole) {
    go_on_for_ever();
    stream.send(endless_chat(true));
    whole.send(endless_chat(false));
    ASSERT_TRUE(stream.receive_until(kToken));
    ASSERT_TRUE(eventually([&] { return engine->num_active() == 2; }));
  }
  // What /metrics says of sinkstream_aborted_total; empty: nothing.
  std::string aborted(const std::string& why) const {
    const std::string metrics = ask(get("/metrics")).body;
    const std::string name = "sinkstream_aborted_total{why=\"" + why + "\"} ";
    const std::size_t begin = metrics.find(name);
    if (begin == std::string::npos) return "";
    return metrics.substr(begin + name.size(), metrics.find('\n', begin) - begin - name.size());
  }
  static Json error_of(const RawResponse& response) { return Json::parse(response.body).at("error"); }
};

TEST_F(Lifecycle, AClientThatLeavesIsCancelled) {
  start();
  go_on_for_ever();
  for (const bool streamed : {true, false}) {
    for (int i = 0; i < 20; ++i) {
      RawClient client(address);
      client.send(endless_chat(streamed));
      if (i % 2 == 0) {
        ASSERT_TRUE(eventually([&] { return engine->num_active() > 0; }));
      }
    }
    EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
  }
}

TEST_F(Lifecycle, AClientThatLeavesTheQueueIsCancelled) {
  start();
  engine->hold(true);
  {
    RawClient client(address);
    client.send(endless_chat(true));
    ASSERT_TRUE(client.receive_until("assistant"));
  }
  EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
  EXPECT_EQ(engine->num_cancelled(), 1u);
  EXPECT_EQ(aborted("client_left"), "1");
}

TEST_F(Lifecycle, AFullQueueSaysWhenToComeBack) {
  limits.num_slots = 1;
  limits.max_queue = 1;
  start();
  engine->hold(true);
  RawClient first(address);
  first.send(post(kChat, chat("hi").dump()));
  ASSERT_TRUE(eventually([&] { return engine->num_active() == 1; }));
  Json two = chat("hi");
  two["n"] = 2;
  const RawResponse refused = post_json(kChat, two);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "2");
  EXPECT_EQ(error_of(refused)["code"], "rate_limit_exceeded");
  EXPECT_EQ(error_of(refused)["type"], "rate_limit_error");
  EXPECT_EQ(engine->num_active(), 1u);  // not one of the two was taken
  engine->hold(false);
  EXPECT_EQ(first.receive().status, 200);
  EXPECT_EQ(post_json(kChat, two).status, 200);
}

TEST_F(Lifecycle, MoreThanCouldEverBeQueuedIsNoMatterOfTime) {
  limits.num_slots = 1;
  limits.max_queue = 2;
  start();
  Json request = chat("hi");
  request["n"] = 4;
  const RawResponse refused = post_json(kChat, request);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(error_of(refused)["param"], "n");
  EXPECT_NE(error_of(refused)["message"].get<std::string>().find("takes 3 at once"), std::string::npos);
  const RawResponse prompts = post_json("/v1/completions", {{"prompt", {"a", "b", "c", "d"}}});
  EXPECT_EQ(prompts.status, 400);
  EXPECT_EQ(error_of(prompts)["param"], "prompt");
  request["n"] = 3;
  EXPECT_EQ(post_json(kChat, request).status, 200);
}

TEST_F(Lifecycle, PromptsThatWaitAreBoundedTogether) {
  settings.max_live_prompt_tokens = 100;
  start();
  engine->hold(true);
  const Json sixty = {{"prompt", std::vector<int>(60, 5)}, {"n", 3}};  // the three hold it once
  std::optional<RawClient> first(address);
  first->send(post("/v1/completions", sixty.dump()));
  ASSERT_TRUE(eventually([&] { return engine->num_active() == 3; }));
  const auto requests = engine->requests();
  EXPECT_EQ(requests[0].prompt.list().data(), requests[2].prompt.list().data());

  const RawResponse refused = post_json("/v1/completions", sixty);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "2");
  EXPECT_EQ(error_of(refused)["type"], "rate_limit_error");
  const RawResponse never = post_json("/v1/completions", {{"prompt", std::vector<int>(101, 5)}});
  EXPECT_EQ(never.status, 400);
  EXPECT_NE(error_of(never)["message"].get<std::string>().find("server.max_live_prompt_tokens"),
            std::string::npos);
  EXPECT_EQ(engine->num_active(), 3u);

  first.reset();  // what is cancelled holds nothing any more
  EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
  engine->hold(false);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(eventually([&] { return post_json("/v1/completions", sixty).status == 200; }));
  }
}

TEST_F(Lifecycle, AStreamInTheQueueIsKeptAlive) {
  settings.ping_seconds = 0.1;
  start();
  engine->hold(true);
  Json request = chat("hi");
  request["stream"] = true;
  RawClient client(address);
  client.send(post(kChat, request.dump()));
  ASSERT_TRUE(client.receive_until(": ping\n\n"));
  engine->hold(false);
  const RawResponse response = client.receive();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(events_of(response.body).back(), "[DONE]");
}

TEST_F(Lifecycle, AReaderThatStallsIsPausedThenCancelled) {
  settings.max_stream_buffer_bytes = 10000;
  settings.stall_seconds = 0.5;
  start();
  say("word ", true);
  RawClient client(address);
  client.shrink_receive_buffer();
  client.send(endless_chat(true));
  ASSERT_TRUE(client.receive_until("assistant"));
  EXPECT_EQ(post_json(kChat, chat("others are served")).status, 200);
  EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
  EXPECT_EQ(engine->num_cancelled(), 1u);
  EXPECT_LT(engine->stats().generated_tokens, 100000);
  EXPECT_EQ(aborted("client_stalled"), "1");
}

TEST_F(Lifecycle, WhatTheEngineBreaksOffIsAnError) {
  start();
  RawClient stream(address);
  RawClient whole(address);
  ASSERT_NO_FATAL_FAILURE(begin_endless_answers(stream, whole));
  engine->fail_all("rank 1 is lost");
  const RawResponse broken = stream.receive();
  EXPECT_FALSE(broken.complete);
  const Json error = Json::parse(events_of(broken.body).back()).at("error");
  EXPECT_EQ(error["type"], "unavailable_error");
  EXPECT_NE(error["message"].get<std::string>().find("rank 1 is lost"), std::string::npos);
  EXPECT_EQ(whole.receive().status, 503);
  EXPECT_EQ(aborted("engine_failed"), "2");
}

// Trying again would not help, so it is no 503.
TEST_F(Lifecycle, AGenerationThatFailsByItselfIsA500) {
  start();
  RawClient stream(address);
  RawClient whole(address);
  ASSERT_NO_FATAL_FAILURE(begin_endless_answers(stream, whole));
  engine->fail_all("the model's logits are not finite", FinishReason::failed);
  const Json error = Json::parse(events_of(stream.receive().body).back()).at("error");
  EXPECT_EQ(error["type"], "server_error");
  const RawResponse refused = whole.receive();
  EXPECT_EQ(refused.status, 500);
  EXPECT_FALSE(refused.headers.contains("retry-after"));
  EXPECT_NE(refused.body.find("logits are not finite"), std::string::npos) << refused.body;
}

TEST_F(Lifecycle, ALostGroupIsToldToEverybodyAtOnce) {
  start();
  RawClient stream(address);
  RawClient whole(address);
  ASSERT_NO_FATAL_FAILURE(begin_endless_answers(stream, whole));
  const auto begin = Clock::now();
  coordinator->fail("rank 1 on host b is dead");
  EXPECT_LT(Clock::now() - begin, 2s);
  const RawResponse broken = stream.receive();
  EXPECT_FALSE(broken.complete);
  EXPECT_NE(events_of(broken.body).back().find("rank 1 on host b is dead"), std::string::npos);
  const RawResponse refused = whole.receive();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  const RawResponse health = ask(get("/health"));
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(Json::parse(health.body)["status"], "failed");
  EXPECT_EQ(ask(get("/health/live")).status, 200);
  EXPECT_EQ(post_json(kChat, chat("hi")).status, 503);
  EXPECT_EQ(aborted("server_ended"), "2");
  EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
}

TEST_F(Lifecycle, DrainingFinishesStreamsAndRefusesNewOnes) {
  start();
  engine->hold(true);
  Json request = chat("hi");
  request["stream"] = true;
  RawClient client(address);
  client.send(post(kChat, request.dump()));
  ASSERT_TRUE(client.receive_until("assistant"));
  coordinator->begin_drain();
  EXPECT_EQ(ask(get("/health")).status, 503);
  EXPECT_EQ(Json::parse(ask(get("/health")).body)["status"], "draining");
  const RawResponse refused = post_json(kChat, chat("hi"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_FALSE(coordinator->wait_until_drained(Clock::now() + 50ms));
  engine->hold(false);
  EXPECT_TRUE(coordinator->wait_until_drained(Clock::now() + kPatience));
  const RawResponse response = client.receive();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(events_of(response.body).back(), "[DONE]");
}

TEST_F(Lifecycle, AnEndingEngineIsA503) {
  start();
  engine->end();
  const RawResponse refused = post_json(kChat, chat("hi"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(error_of(refused)["type"], "unavailable_error");
}

TEST_F(Lifecycle, StoppingInTheMiddleHurtsNobody) {
  start();
  go_on_for_ever();
  RawClient client(address);
  client.send(endless_chat(true));
  ASSERT_TRUE(client.receive_until(kToken));
  coordinator->stop();
  coordinator.reset();
  EXPECT_FALSE(client.receive().complete);
  EXPECT_TRUE(eventually([&] { return engine->num_active() == 0; }));
}

TEST_F(Lifecycle, ManyStreamsAtOnceGetTheirOwnText) {
  start();
  engine->set_token_time(1ms);
  std::vector<std::unique_ptr<RawClient>> clients;
  Json request = chat("hi");
  request["stream"] = true;
  for (int i = 0; i < 32; ++i) {
    clients.push_back(std::make_unique<RawClient>(address));
    clients.back()->send(post(kChat, request.dump()));
  }
  std::set<std::string> ids;
  for (const auto& client : clients) {
    std::string text;
    for (const std::string& event : events_of(client->receive().body)) {
      if (event == "[DONE]") continue;
      const Json chunk = Json::parse(event);
      ids.insert(chunk["id"]);
      text += chunk["choices"][0]["delta"].value("content", "");
    }
    EXPECT_EQ(text, "Hello, dear world!");
  }
  EXPECT_EQ(ids.size(), clients.size());
}

TEST_F(Lifecycle, EqualRequestIdsDoNotMeet) {
  start();
  go_on_for_ever();
  const std::string request =
      "POST " + kChat + " HTTP/1.1\r\nHost: localhost\r\nx-request-id: same\r\n" +
      endless_chat(true).substr(std::string("POST " + kChat + " HTTP/1.1\r\nHost: localhost\r\n").size());
  RawClient stays(address);
  stays.send(request);
  {
    RawClient leaves(address);
    leaves.send(request);
    ASSERT_TRUE(leaves.receive_until(kToken));
  }
  ASSERT_TRUE(stays.receive_until(kToken));
  EXPECT_TRUE(eventually([&] { return engine->num_active() == 1; }));
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(engine->num_active(), 1u);
}

}  // namespace
}  // namespace sinkstream::testing
