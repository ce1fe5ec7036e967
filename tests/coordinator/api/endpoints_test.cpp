// The endpoints that generate nothing.
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <regex>
#include <sstream>

#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {
namespace {

using Endpoints = CoordinatorTest;

TEST_F(Endpoints, Models) {
  api_settings.model_name = "org/fake";
  start();
  const Json list = Json::parse(ask(get("/v1/models")).body);
  EXPECT_EQ(list["object"], "list");
  const Json& model = list["data"][0];
  EXPECT_EQ(model["id"], "org/fake");
  EXPECT_EQ(model["object"], "model");
  EXPECT_TRUE(model["created"].is_number_integer());
  EXPECT_EQ(model["max_model_len"], 100000);  // nobody need cut a prompt to the window
  EXPECT_EQ(model["meta"]["sink_tokens"], 4);
  EXPECT_EQ(model["meta"]["window_tokens"], 28);
  EXPECT_EQ(model["meta"]["max_tokens"], 100000);
  EXPECT_EQ(model["meta"]["end_tokens"], Json(limits.end_tokens));
  for (const char* path : {"/v1/models/org/fake", "/v1/models/org%2Ffake"}) {
    EXPECT_EQ(Json::parse(ask(get(path)).body), model);
  }
  const RawResponse unknown = ask(get("/v1/models/gpt-4"));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(Json::parse(unknown.body)["error"]["code"], "model_not_found");
}

TEST_F(Endpoints, AModelsLengthIsWhatMayBeAskedFor) {
  limits.session.max_context = 40;
  limits.session.window = {0, 40};
  start();
  EXPECT_EQ(Json::parse(ask(get("/v1/models/fake")).body)["max_model_len"], 40);
}

TEST_F(Endpoints, AnAliasIsTheModelUnderAnotherName) {
  api_settings.model_aliases = {"gpt-4o", "org/other"};
  start();
  const Json models = Json::parse(ask(get("/v1/models")).body)["data"];
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models[0]["id"], "fake");
  EXPECT_EQ(models[1]["id"], "gpt-4o");
  EXPECT_EQ(models[2]["id"], "org/other");
  for (const Json& model : models) EXPECT_EQ(model["root"], "fake");
  EXPECT_EQ(Json::parse(ask(get("/v1/models/org%2Fother")).body), models[2]);
  Json request = chat("x");
  for (const char* name : {"gpt-4o", "org/other", "fake"}) {
    request["model"] = name;
    EXPECT_EQ(answer("/v1/chat/completions", request)["model"], name);
    EXPECT_EQ(stream("/v1/chat/completions", request)[0]["model"], name);
    EXPECT_EQ(answer("/v1/completions", {{"prompt", "x"}, {"model", name}})["model"], name);
    EXPECT_EQ(post_json("/tokenize", {{"prompt", "x"}, {"model", name}}).status, 200);
  }
  request.erase("model");
  EXPECT_EQ(answer("/v1/chat/completions", request)["model"], "fake");
}

TEST_F(Endpoints, TokenizeAndDetokenize) {
  start();
  const std::string text = "Call me <|user|> caf\xc3\xa9 \xf0\x9f\xa6\x99";
  const Json tokens = answer("/tokenize", {{"prompt", text}, {"return_token_strs", true}});
  EXPECT_EQ(tokens["tokens"], Json(tokenizer().encode(text)));
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  EXPECT_EQ(tokens["token_strs"].size(), tokens["tokens"].size());
  EXPECT_EQ(tokens["token_strs"][0], "<|begin|>");
  EXPECT_EQ(tokens["max_model_len"], 100000);
  EXPECT_EQ(answer("/detokenize", {{"tokens", tokens["tokens"]}})["prompt"], "<|begin|>" + text);

  const Json bare = answer("/tokenize", {{"prompt", text}, {"add_special_tokens", false}});
  EXPECT_EQ(bare["count"], tokens["count"].get<int>() - 1);
  EXPECT_TRUE(bare["token_strs"].is_null());
  EXPECT_EQ(answer("/detokenize", {{"tokens", Json::array()}})["prompt"], "");
  EXPECT_EQ(answer("/tokenize", {{"prompt", ""}, {"add_special_tokens", false}})["count"], 0);
}

// As lm-evaluation-harness's remote tokenizer reads it.
TEST_F(Endpoints, TokenizerInfo) {
  start();
  const Json info = Json::parse(ask(get("/tokenizer_info")).body);
  EXPECT_EQ(info["bos_token"], "<|begin|>");
  EXPECT_EQ(info["eos_token"], "<|end|>");
  EXPECT_TRUE(info.at("pad_token").is_null());
  EXPECT_TRUE(info["chat_template"].get<std::string>().starts_with("{{ bos_token }}"));
}

TEST_F(Endpoints, TokenizerInfoOfAModelWithoutAny) {
  TemplateSources sources;
  sources.usual = kPlainFormat;
  sources.special_tokens = {{"bos_token", ""}, {"pad_token", "<pad>"}};
  const ChatTemplate plain(sources);
  start(plain);
  const Json info = Json::parse(ask(get("/tokenizer_info")).body);
  EXPECT_TRUE(info.at("bos_token").is_null());
  EXPECT_TRUE(info.at("eos_token").is_null());
  EXPECT_EQ(info["pad_token"], "<pad>");
  EXPECT_EQ(info["chat_template"], kPlainFormat);
}

TEST_F(Endpoints, Version) {
  start();
  EXPECT_EQ(ask(get("/version")).body, R"({"version":")" SINKSTREAM_VERSION R"("})");
}

TEST_F(Endpoints, TokenizeOfMessagesIsWhatAChatReads) {
  start();
  const Json messages = {{{"role", "user"}, {"content", "hi <|end|>"}}};
  const Json tokens = answer("/tokenize", {{"messages", messages}})["tokens"];
  answer("/v1/chat/completions", {{"messages", messages}});
  EXPECT_EQ(tokens, Json(engine->requests().back().prompt.list()));
  const Json without_prompt =
      answer("/tokenize", {{"messages", messages}, {"add_generation_prompt", false}})["tokens"];
  EXPECT_EQ(without_prompt.size() + 1, tokens.size());
}

TEST_F(Endpoints, Health) {
  start();
  for (const char* path : {"/health", "/health/live", "/health/ready"}) {
    const RawResponse response = ask(get(path));
    EXPECT_EQ(response.status, 200) << path;
    EXPECT_EQ(response.body, R"({"status":"ok"})");
  }
}

TEST_F(Endpoints, AStepThatDoesNotEndIsNoHealth) {
  limits.stuck_seconds = 8;
  start();
  EngineStats stats;
  for (const auto& [seconds, status, metric] :
       {std::tuple(3.9, 200, "1"), std::tuple(4.0, 503, "0"), std::tuple(0.0, 200, "1")}) {
    stats.seconds_since_step = seconds;
    engine->set_stats(stats);
    EXPECT_EQ(ask(get("/health")).status, status) << seconds;
    EXPECT_EQ(ask(get("/health/ready")).status, status) << seconds;
    EXPECT_EQ(ask(get("/health/live")).status, 200) << seconds;
    const std::string line = "\nsinkstream_healthy " + std::string(metric) + "\n";
    EXPECT_NE(ask(get("/metrics")).body.find(line), std::string::npos) << seconds;
  }
  stats.seconds_since_step = 5.25;
  engine->set_stats(stats);
  EXPECT_EQ(Json::parse(ask(get("/health")).body)["message"], "a step has not finished for 5.2 s");
}

TEST_F(Endpoints, ASilentRankIsNoHealthAndMetricsTellOfEachRank) {
  start();
  EngineStats stats;
  stats.ranks = {{0, "north", true, 0.25, 12, 1.5}, {1, "south", true, 0, 12, 0.5}};
  engine->set_stats(stats);
  EXPECT_EQ(ask(get("/health")).status, 200);
  stats.ranks[1].up = false;
  engine->set_stats(stats);
  const RawResponse health = ask(get("/health"));
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(Json::parse(health.body)["message"], "rank 1 on south is silent");
  const std::string metrics = ask(get("/metrics")).body;
  for (const char* expected : {"sinkstream_rank_up{rank=\"0\"} 1", "sinkstream_rank_up{rank=\"1\"} 0",
                               "sinkstream_rank_step_lag_seconds{rank=\"0\"} 0.25", "sinkstream_healthy 0",
                               "sinkstream_collective_seconds_count{rank=\"1\"} 12",
                               "sinkstream_collective_seconds_sum{rank=\"0\"} 1.5"}) {
    EXPECT_NE(metrics.find(std::string("\n") + expected + "\n"), std::string::npos) << expected << "\n"
                                                                                    << metrics;
  }
}

TEST_F(Endpoints, MetricsOfTheEngine) {
  start();
  EngineStats stats;
  stats.resident_tokens = 64;
  for (const double seconds : {0.0005, 0.02, 0.02, 1e6}) stats.steps.add(seconds);
  for (int i = 0; i < 3; ++i) stats.queueing.add(3);
  stats.prefill.add(0.25);
  stats.decode.add(60);
  engine->set_stats(stats);
  const std::string metrics = ask(get("/metrics")).body;
  for (const char* expected :
       {"# TYPE sinkstream_step_seconds histogram", "sinkstream_step_seconds_count 4",
        "sinkstream_step_seconds_bucket{le=\"0.001\"} 1", "sinkstream_step_seconds_bucket{le=\"0.01\"} 1",
        "sinkstream_step_seconds_bucket{le=\"0.025\"} 3", "sinkstream_step_seconds_bucket{le=\"7200\"} 3",
        "sinkstream_step_seconds_bucket{le=\"+Inf\"} 4", "sinkstream_request_queue_seconds_sum 9",
        "sinkstream_request_queue_seconds_bucket{le=\"2.5\"} 0",
        "sinkstream_request_queue_seconds_bucket{le=\"5\"} 3",
        "sinkstream_prefill_seconds_bucket{le=\"0.25\"} 1", "sinkstream_decode_seconds_bucket{le=\"60\"} 1",
        "sinkstream_kv_cache_usage_ratio 0.25",  // of 8 slots with 32 tokens
        "sinkstream_sessions 0"}) {
    EXPECT_NE(metrics.find(std::string("\n") + expected + "\n"), std::string::npos) << expected << "\n"
                                                                                    << metrics;
  }
}

TEST_F(Endpoints, MetricsAreWellFormed) {
  start();
  answer("/v1/chat/completions", chat("hi"));
  ask(get("/nowhere"));
  const RawResponse response = ask(get("/metrics"));
  EXPECT_TRUE(response.headers.at("content-type").starts_with("text/plain; version=0.0.4"));
  const std::regex line(
      R"(# (HELP|TYPE) (sinkstream|process)_[a-z_]+ .+|(sinkstream|process)_[a-z_]+(\{[^}]*\})? [-+0-9.eInfNa]+)");
  std::istringstream lines(response.body);
  for (std::string text; std::getline(lines, text);) EXPECT_TRUE(std::regex_match(text, line)) << text;
  for (const char* expected :
       {"sinkstream_requests_total{code=\"200\",endpoint=\"/v1/chat/completions\"} 1",
        "sinkstream_requests_total{code=\"404\",endpoint=\"other\"} 1",
        "sinkstream_request_finished_total{reason=\"stop\"} 1", "sinkstream_requests_running 0",
        "sinkstream_requests_waiting 0", "sinkstream_time_to_first_token_seconds_count 1",
        "sinkstream_inter_token_latency_seconds_count", "sinkstream_request_duration_seconds_count 2",
        "sinkstream_prompt_tokens_total", "sinkstream_generation_tokens_total",
        "sinkstream_kv_evicted_tokens_total", "sinkstream_slots 8", "sinkstream_parked_sessions 0",
        "sinkstream_parking_places 0", "sinkstream_session_parks_total 0",
        "sinkstream_session_restores_total 0", "sinkstream_build_info{version="}) {
    EXPECT_NE(response.body.find(expected), std::string::npos) << expected << "\n" << response.body;
  }
}

TEST_F(Endpoints, SeriesThatAreKnownBeforehandStartAtZero) {
  start();
  const std::string metrics = ask(get("/metrics")).body;
  for (const char* series :
       {"sinkstream_requests_total{code=\"200\",endpoint=\"/v1/chat/completions\"}",
        "sinkstream_requests_total{code=\"200\",endpoint=\"/v1/completions\"}",
        "sinkstream_request_finished_total{reason=\"stop\"}",
        "sinkstream_request_finished_total{reason=\"length\"}",
        "sinkstream_request_finished_total{reason=\"failed\"}",
        "sinkstream_request_finished_total{reason=\"abandoned\"}",
        "sinkstream_aborted_total{why=\"client_left\"}", "sinkstream_aborted_total{why=\"client_stalled\"}",
        "sinkstream_aborted_total{why=\"server_ended\"}", "sinkstream_aborted_total{why=\"engine_failed\"}",
        "sinkstream_prompt_tokens_total", "sinkstream_generation_tokens_total",
        "sinkstream_kv_evicted_tokens_total"}) {
    EXPECT_NE(metrics.find(std::string("\n") + series + " 0\n"), std::string::npos) << series << "\n"
                                                                                    << metrics;
  }
}

TEST_F(Endpoints, MetricsOfTheProcess) {
  start();
  const auto value = [&](const std::string& name) {
    const std::string metrics = ask(get("/metrics")).body;
    const auto at = metrics.find("\n" + name + " ");
    EXPECT_NE(at, std::string::npos) << name << "\n" << metrics;
    return at == std::string::npos ? 0 : std::stod(metrics.substr(at + name.size() + 2));
  };
  const double cpu_before = value("process_cpu_seconds_total");
  EXPECT_GT(cpu_before, 0);
  EXPECT_GE(value("process_cpu_seconds_total"), cpu_before);
  EXPECT_GT(value("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(value("process_virtual_memory_bytes"), value("process_resident_memory_bytes"));
  EXPECT_GT(value("process_max_fds"), 10);
  const double now = static_cast<double>(std::time(nullptr));
  EXPECT_LE(value("process_start_time_seconds"), now + 1);
  EXPECT_GT(value("process_start_time_seconds"), now - 3600);
  const double open = value("process_open_fds");
  {
    const RawClient client(address);  // two ends, both here
    RawClient other(address);
    other.send(get("/health"));
    EXPECT_EQ(other.receive().status, 200);  // so that the first is accepted too
    EXPECT_GE(value("process_open_fds"), open + 4);
  }
}

TEST_F(Endpoints, ThePageIsSelfContainedAndLockedDown) {
  start();
  const RawResponse page = ask(get("/"));
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.headers.at("x-content-type-options"), "nosniff");
  const std::string policy = page.headers.at("content-security-policy");
  EXPECT_TRUE(policy.starts_with("default-src 'none'; script-src 'self'; "));
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  EXPECT_NE(page.body.find("</html>"), std::string::npos);
  EXPECT_EQ(page.body.find("<style"), std::string::npos);
}

// Under a proxy's path prefix too: relative, and each of them is there.
TEST_F(Endpoints, EveryFileOfThePageIsServedFromARelativeAddress) {
  start();
  const std::string page = ask(get("/")).body;
  const std::regex reference("(?:src|href)=\"([^\"#]+)\"");
  std::size_t num_files = 0;
  for (std::sregex_iterator found(page.begin(), page.end(), reference), end; found != end; ++found) {
    const std::string path = (*found)[1];
    if (path == "data:,") continue;
    EXPECT_TRUE(path.starts_with("page/")) << path;
    const RawResponse file = ask(get("/" + path));
    EXPECT_EQ(file.status, 200) << path;
    EXPECT_EQ(file.headers.at("content-type"),
              path.ends_with(".js") ? "text/javascript; charset=utf-8" : "text/css; charset=utf-8");
    ++num_files;
  }
  EXPECT_GE(num_files, 4u);
  EXPECT_EQ(ask(get("/page/nothing.js")).status, 404);
  EXPECT_EQ(ask(get("/page/")).status, 404);
  EXPECT_EQ(ask(get("/page/../page/main.js")).status, 404);
}

TEST_F(Endpoints, AFileThatTheBrowserHasIsNotSentAgain) {
  start();
  const RawResponse first = ask(get("/page/main.js"));
  const std::string etag = first.headers.at("etag");
  EXPECT_EQ(first.headers.at("cache-control"), "no-cache");
  const auto ask_holding = [&](const std::string& held) {
    return ask("GET /page/main.js HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: " + held + "\r\n\r\n");
  };
  for (const std::string& held : {etag, "W/" + etag, "\"other\", " + etag}) {
    const RawResponse again = ask_holding(held);
    EXPECT_EQ(again.status, 304) << held;
    EXPECT_EQ(again.body, "");
    EXPECT_EQ(again.headers.at("etag"), etag);
    EXPECT_EQ(again.headers.count("content-length"), 0u);
  }
  EXPECT_EQ(ask_holding("\"other\"").status, 200);
}

// A sink that the model was trained with begins every session, but for prompts given as token ids.
TEST_F(Endpoints, ATrainedSinkComesFirst) {
  constexpr TokenId kSink = 4;
  limits.sink_token = kSink;
  start();
  const std::vector<TokenId> plain = tokenizer().encode("x");
  answer("/v1/completions", {{"prompt", "x"}, {"max_tokens", 1}});
  answer("/v1/completions", {{"prompt", "x"}, {"max_tokens", 1}, {"add_special_tokens", false}});
  answer("/v1/completions", {{"prompt", {5, 6}}, {"max_tokens", 1}});
  answer("/v1/chat/completions", chat("x"));
  const auto requests = engine->requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[0].prompt.list().at(0), kSink);
  EXPECT_EQ(std::vector<TokenId>(requests[0].prompt.list().begin() + 1, requests[0].prompt.list().end()),
            plain);
  EXPECT_NE(requests[1].prompt.list().at(0), kSink);
  EXPECT_EQ(requests[2].prompt.list(), (std::vector<TokenId>{5, 6}));
  EXPECT_EQ(requests[3].prompt.list().at(0), kSink);
  EXPECT_EQ(answer("/tokenize", {{"prompt", "x"}})["tokens"][0], kSink);
  EXPECT_EQ(
      answer("/v1/completions", {{"prompt", "x"}, {"echo", true}, {"max_tokens", 0}})["choices"][0]["text"],
      "x");
}

// Counts the lines of the log that hold a text.
class LinesOfLog {
 public:
  LinesOfLog() {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(written_)));
  }
  ~LinesOfLog() { spdlog::set_default_logger(usual_); }
  int with(const std::string& text) const {
    int lines = 0;
    std::istringstream log(written_.str());
    for (std::string line; std::getline(log, line);) lines += line.find(text) != line.npos ? 1 : 0;
    return lines;
  }

 private:
  std::ostringstream written_;
  const std::shared_ptr<spdlog::logger> usual_ = spdlog::default_logger();
};

TEST_F(Endpoints, APromptOfTokensWithoutTheSinkIsWarnedOf) {
  constexpr TokenId kSink = 4;
  const TokenId begin = *tokenizer().find("<|begin|>");
  const auto warning_of = [this](const Json& prompt, bool add_special_tokens = true, bool streamed = false) {
    const RawResponse response = post_json("/v1/completions", {{"prompt", prompt},
                                                               {"max_tokens", 1},
                                                               {"stream", streamed},
                                                               {"add_special_tokens", add_special_tokens}});
    EXPECT_EQ(response.status, 200) << response.body;
    const auto found = response.headers.find("x-sinkstream-warning");
    return found == response.headers.end() ? "" : found->second;
  };
  const LinesOfLog log;
  start();  // the tokenizer's own first token
  EXPECT_EQ(
      warning_of({5, 6}),
      "a prompt does not begin with token " + std::to_string(begin) +
          " (\"<|begin|>\"), as prompts of text do: this model may score and continue it worse; put that "
          "token first (lm-eval: add_bos_token=True)");
  EXPECT_NE(warning_of({5, 6}, true, /*streamed=*/true), "");
  EXPECT_NE(warning_of({{begin, 5}, {5, 6}}), "");
  EXPECT_NE(warning_of("x", /*add_special_tokens=*/false), "");
  EXPECT_EQ(warning_of({begin, 5}), "");
  EXPECT_EQ(warning_of({{begin, 5}, {begin}}), "");
  EXPECT_EQ(warning_of("x"), "");
  coordinator->stop();  // whose threads write the log
  EXPECT_EQ(log.with("a prompt does not begin with token"), 1) << "once is enough";
  limits.sink_token = kSink;
  start();
  EXPECT_NE(warning_of({begin, 5}).find("token 4 "), std::string::npos);
  EXPECT_EQ(warning_of({kSink, begin, 5}), "");
  coordinator->stop();
}

TEST_F(Endpoints, ASinkThatIsThereAlreadyIsNotPutTwice) {
  limits.sink_token = tokenizer().encode("x").front();
  start();
  EXPECT_EQ(answer("/tokenize", {{"prompt", "x"}})["tokens"], Json(tokenizer().encode("x")));
}

TEST_F(Endpoints, TokensThatTheModelDoesNotHaveAreRefused) {
  limits.vocab_size = tokenizer().encode("x").back();
  start();
  const RawResponse refused = post_json("/v1/completions", {{"prompt", "x"}});
  EXPECT_EQ(refused.status, 400);
  const Json error = Json::parse(refused.body)["error"];
  EXPECT_EQ(error["param"], "prompt");
  EXPECT_NE(
      error["message"].get<std::string>().find("'x', a token of the tokenizer that the model does not have"),
      std::string::npos)
      << error;
  EXPECT_EQ(post_json("/v1/chat/completions", chat("x")).status, 400);
}

}  // namespace
}  // namespace sinkstream::testing
