// The engine on a real, tiny checkpoint: threads as ranks, the golden tokens through the whole loop.
#include "worker/engine/engine_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <future>
#include <latch>
#include <nlohmann/json.hpp>
#include <thread>

#include "parallel/communicator/in_process.h"
#include "tests/kernels/awkward/awkward_backend.h"
#include "tests/paths.h"
#include "tests/patience.h"
#include "tests/worker/model/support/rank_group.h"
#include "worker/model/model.h"

namespace sinkstream {
namespace {

const std::filesystem::path kModel = test_data_dir() / "models" / "llama-gqa";

nlohmann::json reference() {
  std::ifstream in(kModel / "reference.json");
  return nlohmann::json::parse(in);
}

class Collector final : public GenerationListener {
 public:
  void on_token(TokenEvent event) override { events.push_back(std::move(event)); }
  void on_finish(FinishEvent event) override { done_.set_value(std::move(event)); }
  bool paused() const override { return is_paused; }

  // Waits for the end; the events may be read then.
  FinishEvent finish() {
    auto future = done_.get_future();
    if (future.wait_for(kPatience) != std::future_status::ready) throw std::runtime_error("no end");
    return future.get();
  }
  std::vector<TokenId> tokens() const {
    std::vector<TokenId> tokens;
    for (const auto& event : events) tokens.push_back(event.token);
    return tokens;
  }

  std::vector<TokenEvent> events;
  std::atomic<bool> is_paused = false;

 private:
  std::promise<FinishEvent> done_;
};

struct GroupOptions {
  int ranks = 1;
  std::int32_t slots = 4;
  std::int64_t prefill_chunk = 16;
  std::int32_t max_queue = 64;
  CacheWindow window{4, 28};
  std::string backend = "cpu";
};

// A worker group whose ranks are threads. The constructor returns when it serves; the destructor ends it.
class TestGroup {
 public:
  explicit TestGroup(GroupOptions options)
      : options_(options),
        communicators_(make_in_process_group(options.ranks)),
        devices_(make_in_process_group(options.ranks)),
        most_in_flight_(static_cast<std::size_t>(options.ranks)) {
    std::latch ready(options.ranks);
    for (int rank = 0; rank < options.ranks; ++rank) {
      threads_.emplace_back([this, rank, &ready] { run_rank(rank, ready); });
    }
    ready.wait();
  }
  ~TestGroup() { most_steps_in_flight(); }

  // Ends the group. How many steps each rank had in flight at most; 0 where the backend does not count them.
  const std::vector<std::uint64_t>& most_steps_in_flight() {
    if (!threads_.empty()) engine->stop();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
    return most_in_flight_;
  }

  std::shared_ptr<Collector> submit(GenerationRequest request) {
    auto collector = std::make_shared<Collector>();
    EXPECT_EQ(engine->submit({{std::move(request), collector}}), SubmitResult::accepted);
    return collector;
  }

  EngineLoop* engine = nullptr;

 private:
  void run_rank(int rank, std::latch& ready) {
    Communicator& communicator = *communicators_[static_cast<std::size_t>(rank)];
    const ModelConfig config = read_model_config(kModel);
    const ShardPlan shard = make_shard_plan(config.shard_sizes(), options_.ranks, rank);
    const auto backend = make_test_backend(options_.backend, *devices_[static_cast<std::size_t>(rank)]);
    const SessionShape session{.window = options_.window,
                               .sink_capacity = options_.window.sink_tokens,
                               .ring_capacity = options_.window.window_tokens + options_.prefill_chunk};
    const KvCacheSizes cache = cache_sizes(session, options_.slots, kernels::DType::f32);
    const std::int64_t max_rows = options_.slots + options_.prefill_chunk;
    Model model(config, shard,
                load_weights(Checkpoint(kModel), config, shard, kernels::WeightFormat::f32, *backend, {}),
                cache, max_rows, *backend);
    PlanLimits limits;
    limits.num_slots = options_.slots;
    limits.max_rows = max_rows;
    limits.vocab_size = config.vocab_size;
    limits.session = session;
    StepRunner runner(model, limits);
    if (rank > 0) {
      ready.count_down();
      follow(communicator, runner, limits);
    } else {
      lead(communicator, runner, config, session, ready);
    }
    if (const auto* awkward = dynamic_cast<const kernels::AwkwardBackend*>(backend.get())) {
      most_in_flight_[static_cast<std::size_t>(rank)] = awkward->most_marks_unwaited();
    }
  }

  void lead(Communicator& communicator, StepRunner& runner, const ModelConfig& config,
            const SessionShape& session, std::latch& ready) {
    EngineLimits engine_limits;
    engine_limits.vocab_size = config.vocab_size;
    engine_limits.session = session;
    engine_limits.max_queue = options_.max_queue;
    engine_limits.num_slots = options_.slots;
    SchedulerLimits scheduler_limits{
        options_.slots, options_.prefill_chunk, options_.prefill_chunk, session, {}};
    EngineLoop loop(engine_limits, scheduler_limits, runner, communicator);
    engine = &loop;
    ready.count_down();
    loop.run();
  }

  GroupOptions options_;
  std::vector<std::unique_ptr<Communicator>> communicators_, devices_;
  std::vector<std::uint64_t> most_in_flight_;  // by rank, once the group has ended
  std::vector<std::thread> threads_;
};

GenerationRequest greedy_request(const std::string& id, const std::vector<TokenId>& prompt,
                                 std::int64_t max_tokens) {
  GenerationRequest request;
  request.id = id;
  request.prompt = prompt;
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

class EngineOnRanks : public testing::TestWithParam<int> {};

TEST_P(EngineOnRanks, GreedyTokensAreTheReferences) {
  const auto golden = reference();
  for (const char* mode : {"sink", "window"}) {
    const auto& expected = golden[mode];
    GroupOptions options;
    options.ranks = GetParam();
    options.window = {expected["sink_tokens"], expected["window_tokens"]};
    const auto all = expected["greedy_tokens"].get<std::vector<TokenId>>();
    const auto prompt_length = expected["greedy_prompt"].get<std::ptrdiff_t>();
    TestGroup group(options);
    const auto collector = group.submit(
        greedy_request(mode, {all.begin(), all.begin() + prompt_length}, std::ssize(all) - prompt_length));
    collector->finish();
    EXPECT_EQ(collector->tokens(), std::vector<TokenId>(all.begin() + prompt_length, all.end())) << mode;
  }
}

TEST_P(EngineOnRanks, ARequestThatRanksWouldRefuseFailsAlone) {
  GroupOptions options;
  options.ranks = GetParam();
  TestGroup group(options);
  std::vector<GenerationRequest> bad(7, greedy_request("bad", {1, 2, 3}, 4));
  bad[0].sampling.top_p = 0;
  bad[1].sampling.repetition_penalty = 0;
  bad[2].prompt = {1, 256, 3};
  bad[3].prompt = SharedTokens();
  bad[4].top_logprobs = 21;
  bad[5].top_prompt_logprobs = -1;
  bad[6].sampling.min_tokens = -1;
  for (const GenerationRequest& request : bad) {
    const FinishEvent end = group.submit(request)->finish();
    EXPECT_EQ(end.reason, FinishReason::failed);
    EXPECT_FALSE(end.message.empty());
  }
  const auto good = group.submit(greedy_request("good", {1, 2, 3}, 4));
  EXPECT_EQ(good->finish().reason, FinishReason::length);
}

TEST_P(EngineOnRanks, PromptLogprobsAreTheReferencesFarBeyondTheWindow) {
  const auto golden = reference();
  GroupOptions options;
  options.ranks = GetParam();
  TestGroup group(options);
  GenerationRequest request;
  request.id = "score";
  request.prompt = golden["input_ids"].get<std::vector<TokenId>>();
  request.prompt_logprobs = true;
  const auto collector = group.submit(request);
  EXPECT_EQ(collector->finish().usage, (SessionUsage{200, 4, 32, 168}));
  const auto nll = golden["sink"]["nll"].get<std::vector<double>>();
  ASSERT_EQ(collector->events.size(), nll.size() + 1);
  for (std::size_t i = 0; i < nll.size(); ++i) {
    EXPECT_NEAR(-static_cast<double>(*collector->events[i + 1].logprob), nll[i], 2e-3) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, EngineOnRanks, testing::Values(1, 2, 3, 8));

// The strongest promise: what a session says does not depend on who else is there, bit for bit.
TEST(EngineLoop, ASessionAmongOthersEqualsTheSessionAlone) {
  const auto ids = reference()["input_ids"].get<std::vector<TokenId>>();
  const auto request_of = [&](int i) {
    GenerationRequest request;
    request.id = "r" + std::to_string(i);
    request.prompt = std::vector<TokenId>(ids.begin() + i, ids.begin() + i + 1 + 13 * i);
    request.max_tokens = 40;
    request.sampling.temperature = 0.9f;
    request.sampling.top_p = i % 2 ? 0.9f : 1.0f;
    request.sampling.frequency_penalty = 0.3f;
    request.sampling.repeat_last_n = i % 3 ? 11 : -1;
    request.sampling.seed = static_cast<std::uint64_t>(i);
    request.logprobs = request.prompt_logprobs = true;
    request.top_logprobs = request.top_prompt_logprobs = 3;
    return request;
  };
  std::vector<std::shared_ptr<Collector>> among;
  {
    TestGroup group({.ranks = 2, .slots = 3, .prefill_chunk = 24});
    for (int i = 0; i < 9; ++i) among.push_back(group.submit(request_of(i)));
    for (const auto& collector : among) collector->finish();
  }
  for (int i = 0; i < 9; ++i) {
    TestGroup group({.ranks = 2, .slots = 1, .prefill_chunk = 5});
    const auto alone = group.submit(request_of(i));
    alone->finish();
    ASSERT_EQ(alone->events.size(), among[static_cast<std::size_t>(i)]->events.size());
    for (std::size_t k = 0; k < alone->events.size(); ++k) {
      const auto& a = alone->events[k];
      const auto& b = among[static_cast<std::size_t>(i)]->events[k];
      ASSERT_EQ(a.token, b.token) << "session " << i << ", event " << k;
      ASSERT_EQ(a.logprob, b.logprob) << "session " << i << ", event " << k;
      ASSERT_EQ(a.top.size(), b.top.size());
      for (std::size_t j = 0; j < a.top.size(); ++j) ASSERT_EQ(a.top[j].logprob, b.top[j].logprob);
    }
  }
}

TEST(EngineLoop, AFullQueueTakesAllOrNothing) {
  TestGroup group({.slots = 1, .max_queue = 2});
  const auto running = group.submit(greedy_request("running", {1, 2, 3}, 1'000'000));
  while (group.engine->stats().running == 0) std::this_thread::yield();
  const auto second = group.submit(greedy_request("second", {1}, 1));
  auto one = std::make_shared<Collector>();
  auto two = std::make_shared<Collector>();
  EXPECT_EQ(group.engine->submit({{greedy_request("x", {1}, 1), one}, {greedy_request("y", {1}, 1), two}}),
            SubmitResult::queue_full);
  const auto third = group.submit(greedy_request("third", {1}, 1));
  EXPECT_EQ(group.engine->submit({{greedy_request("z", {1}, 1), one}}), SubmitResult::queue_full);
  EXPECT_EQ(group.engine->stats().waiting, 2);
  group.engine->cancel("running");
  EXPECT_EQ(running->finish().reason, FinishReason::cancelled);
  second->finish();
  third->finish();
  EXPECT_TRUE(one->events.empty());
}

TEST(EngineLoop, StopEndsWhatRunsAndRefusesWhatComes) {
  std::shared_ptr<Collector> running;
  {
    TestGroup group({.ranks = 3});
    running = group.submit(greedy_request("running", {1, 2, 3}, 1'000'000));
    group.engine->stop();
    EXPECT_EQ(group.engine->submit({{greedy_request("late", {1}, 1), running}}), SubmitResult::ending);
  }
  EXPECT_EQ(running->finish().reason, FinishReason::ending);
}

TEST_P(EngineOnRanks, NothingEndsAnAnswerBeforeMinTokens) {
  TestGroup group({.ranks = GetParam()});
  GenerationRequest request = greedy_request("free", {1, 2, 3}, 12);
  const auto free_run = group.submit(request);
  free_run->finish();
  request.stop_token_ids = {free_run->tokens().at(0), free_run->tokens().at(1)};
  request.id = "stopped";
  const auto stopped = group.submit(request);
  EXPECT_EQ(stopped->finish().stop_token, request.stop_token_ids[0]);
  EXPECT_TRUE(stopped->events.empty());

  request.sampling.min_tokens = 7;
  for (const float temperature : {0.0f, 2.0f}) {
    for (const std::int32_t top_k : {0, 2}) {
      request.id = "held " + std::to_string(temperature) + " " + std::to_string(top_k);
      request.sampling.temperature = temperature;
      request.sampling.top_k = top_k;
      request.sampling.logit_bias = {{request.stop_token_ids[1], 1000.0f}};
      const auto held = group.submit(request);
      EXPECT_EQ(held->finish().stop_token, request.stop_token_ids[1]) << "the bias rules again afterwards";
      EXPECT_EQ(held->events.size(), 7u);
      for (const TokenId token : held->tokens()) {
        EXPECT_EQ(std::count(request.stop_token_ids.begin(), request.stop_token_ids.end(), token), 0);
      }
    }
  }
}

TEST_P(EngineOnRanks, PenaltiesCountTheNewestTokensOfTheOutput) {
  TestGroup group({.ranks = GetParam(), .prefill_chunk = 5});
  const std::vector<TokenId> prompt{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3};
  GenerationRequest request = greedy_request("free", prompt, 60);
  const auto free_run = group.submit(request);
  free_run->finish();
  request.sampling.presence_penalty = 1000;  // what is counted never comes
  request.sampling.repeat_last_n = 0;
  const auto off = group.submit(request);
  off->finish();
  EXPECT_EQ(off->tokens(), free_run->tokens());

  constexpr std::int32_t kLastN = 9;
  request.sampling.repeat_last_n = kLastN;
  request.sampling.earlier_output = {4, 1, 5};
  request.sampling.logit_bias = {{1, 500.0f}};  // as soon as it may come again
  const auto penalized = group.submit(request);
  penalized->finish();
  std::vector<TokenId> all(kLastN - 3, -1);
  all.insert(all.end(), {4, 1, 5});
  for (const TokenId token : penalized->tokens()) {
    const auto newest = std::span(all).last(kLastN);
    const bool one_is_free = std::ranges::count(newest, 1) == 0;
    EXPECT_EQ(std::ranges::count(newest, token), 0) << "token " << all.size();
    EXPECT_EQ(token == 1, one_is_free) << "token " << all.size();
    all.push_back(token);
  }
}

TEST(EngineLoop, APausedReaderGoesOnWhereItWas) {
  TestGroup group({.ranks = 2});
  const std::vector<TokenId> prompt{5, 6, 7};
  const auto reference_run = group.submit(greedy_request("reference", prompt, 50));
  reference_run->finish();
  auto paused = std::make_shared<Collector>();
  paused->is_paused = true;
  ASSERT_EQ(group.engine->submit({{greedy_request("paused", prompt, 50), paused}}), SubmitResult::accepted);
  while (group.engine->stats().running == 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(group.engine->stats().generated_tokens, 50);
  paused->is_paused = false;
  paused->finish();
  EXPECT_EQ(paused->tokens(), reference_run->tokens());
}

struct Answer {
  std::vector<TokenId> tokens;
  SessionUsage usage;
};

Answer answer_of(Collector& collector) {
  const SessionUsage usage = collector.finish().usage;
  return {collector.tokens(), usage};
}

std::vector<GenerationRequest> mixed_requests() {
  const std::vector<TokenId> text = reference()["input_ids"].get<std::vector<TokenId>>();
  std::vector<GenerationRequest> requests;
  for (std::size_t i = 0; i < 12; ++i) {
    const auto begin = text.begin() + static_cast<std::ptrdiff_t>(3 * i);
    auto request =
        greedy_request(std::to_string(i), {begin, begin + 2 + static_cast<std::ptrdiff_t>(5 * (i % 4))},
                       5 + static_cast<std::int64_t>(7 * i % 31));
    request.sampling.temperature = i % 3 == 0 ? 0.0f : 1.0f;
    request.sampling.seed = i;
    request.sampling.frequency_penalty = i % 2 == 0 ? 0.0f : 0.5f;
    request.logprobs = i % 2 == 1;
    requests.push_back(request);
  }
  return requests;
}

// With steps in flight a session's end is known only after its slot has been taken further; the next session
// in the slot must see none of it.
TEST(EngineLoop, SlotsChangeHandsWhileStepsAreUnderWay) {
  for (const int ranks : {1, 3}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    // Alone, one step after the other, and then with the token in the middle of each answer as its end.
    std::vector<GenerationRequest> requests = mixed_requests();
    std::vector<Answer> alone;
    {
      TestGroup group({.ranks = ranks, .slots = 1});
      for (auto& request : requests) {
        const auto tokens = answer_of(*group.submit(request)).tokens;
        if (tokens.size() > 6) request.stop_token_ids = {tokens[tokens.size() / 2]};
        alone.push_back(answer_of(*group.submit(request)));
      }
    }
    TestGroup group({.ranks = ranks, .slots = 2, .backend = "awkward"});
    std::vector<std::shared_ptr<Collector>> collectors;
    for (const auto& request : requests) collectors.push_back(group.submit(request));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const Answer answer = answer_of(*collectors[i]);
      EXPECT_EQ(answer.usage, alone[i].usage) << i;
      EXPECT_EQ(answer.tokens, alone[i].tokens) << i;
    }
    EXPECT_EQ(group.most_steps_in_flight(), std::vector<std::uint64_t>(static_cast<std::size_t>(ranks), 2))
        << "steps overlap on every rank";
  }
}

// Steps that overlap are launched before the one ahead has ended; their times must not be counted twice.
TEST(EngineLoop, TheTimesOfStepsAddUpToNoMoreThanTheTimeThatPassed) {
  TestGroup group({.backend = "awkward"});
  const auto begin = std::chrono::steady_clock::now();
  group.submit(greedy_request("a", {1, 2, 3}, 100))->finish();
  const double steps = group.engine->stats().steps.sum;
  const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_GT(steps, 0);
  EXPECT_LE(steps, passed);
}

}  // namespace
}  // namespace sinkstream
