#include "tests/coordinator/api/fake_engine.h"

#include <algorithm>

namespace sinkstream::testing {
namespace {

constexpr std::size_t kPromptChunk = 16;

// Some number that depends on the token alone.
float fake_logprob(TokenId token) {
  return -0.25f * static_cast<float>(1 + token % 7);
}

std::int64_t fake_rank(TokenId token) {
  return 100 + token;
}

TokenEvent make_event(const GenerationRequest& request, std::size_t position, TokenId token,
                      bool from_prompt) {
  TokenEvent event{static_cast<std::int64_t>(position), token, from_prompt, std::nullopt, {}};
  if (!(from_prompt ? position > 0 : request.logprobs)) return event;
  event.logprob = fake_logprob(token);
  if (from_prompt) event.rank = fake_rank(token);
  const std::int32_t top = from_prompt ? request.top_prompt_logprobs : request.top_logprobs;
  for (TokenId i = 0; i < top; ++i) event.top.push_back({i + 300, fake_logprob(i + 300)});
  return event;
}

}  // namespace

FakeEngine::FakeEngine(EngineLimits limits) : limits_(std::move(limits)), thread_([this] { run(); }) {}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void FakeEngine::set_reply(std::vector<TokenId> tokens, bool endless) {
  const std::lock_guard lock(mutex_);
  reply_ = std::move(tokens);
  endless_ = endless;
}

void FakeEngine::set_token_time(std::chrono::milliseconds time) {
  const std::lock_guard lock(mutex_);
  token_time_ = time;
}

void FakeEngine::hold(bool held) {
  const std::lock_guard lock(mutex_);
  held_ = held;
  changed_.notify_all();
}

void FakeEngine::end() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
}

void FakeEngine::fail_all(const std::string& message, FinishReason reason) {
  const std::lock_guard lock(mutex_);
  for (Active& active : active_) active.submission.listener->on_finish({reason, message, {}});
  active_.clear();
}

void FakeEngine::set_stats(const EngineStats& stats) {
  const std::lock_guard lock(mutex_);
  stats_ = stats;
}

std::size_t FakeEngine::num_active() const {
  const std::lock_guard lock(mutex_);
  return active_.size();
}

std::size_t FakeEngine::num_cancelled() const {
  const std::lock_guard lock(mutex_);
  return num_cancelled_;
}

std::vector<GenerationRequest> FakeEngine::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

SubmitResult FakeEngine::submit(std::vector<Submission> submissions) {
  const std::lock_guard lock(mutex_);
  if (ending_) return SubmitResult::ending;
  if (active_.size() + submissions.size() > static_cast<std::size_t>(limits_.num_slots + limits_.max_queue)) {
    return SubmitResult::queue_full;
  }
  for (Submission& submission : submissions) {
    requests_.push_back(submission.request);
    active_.push_back({std::move(submission)});
  }
  changed_.notify_all();
  return SubmitResult::accepted;
}

void FakeEngine::cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  for (Active& active : active_) {
    if (active.submission.request.id == id) active.cancelled = true;
  }
  changed_.notify_all();
}

EngineStats FakeEngine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.running = static_cast<std::int64_t>(active_.size());
  return stats;
}

void FakeEngine::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::erase_if(active_, [this](Active& active) {
      return active.cancelled && (finish(active, FinishReason::cancelled, 0), true);
    });
    if (active_.empty() || held_) {
      changed_.wait(lock);
      continue;
    }
    std::erase_if(active_, [this](Active& active) { return step(active); });
    const auto time = token_time_;
    lock.unlock();
    std::this_thread::sleep_for(std::max<std::chrono::microseconds>(time, std::chrono::microseconds(20)));
    lock.lock();
  }
  for (Active& active : active_) finish(active, FinishReason::ending, 0);
}

bool FakeEngine::step(Active& active) {
  const GenerationRequest& request = active.submission.request;
  GenerationListener& listener = *active.submission.listener;
  if (listener.paused()) return false;
  const std::size_t prompt_size = request.prompt.size();
  if (active.prompt_read < prompt_size) {
    const std::size_t end = std::min(prompt_size, active.prompt_read + kPromptChunk);
    stats_.prompt_tokens += static_cast<std::int64_t>(end - active.prompt_read);
    for (; active.prompt_read < end; ++active.prompt_read) {
      if (!request.prompt_logprobs) continue;
      listener.on_token(make_event(request, active.prompt_read, request.prompt[active.prompt_read], true));
    }
    if (end < prompt_size) return false;
  }
  const auto seen = static_cast<std::int64_t>(prompt_size + active.generated);
  if (!endless_ && active.generated == reply_.size() && !request.ignore_eos) {
    finish(active, FinishReason::stop, seen);
    return true;
  }
  if (static_cast<std::int64_t>(active.generated) == request.max_tokens) {
    finish(active, FinishReason::length,
           std::max<std::int64_t>(seen - 1, static_cast<std::int64_t>(prompt_size)));
    return true;
  }
  const TokenId token = reply_[active.generated % reply_.size()];
  listener.on_token(make_event(request, prompt_size + active.generated++, token, false));
  ++stats_.generated_tokens;
  return false;
}

void FakeEngine::finish(Active& active, FinishReason reason, std::int64_t seen) {
  if (reason == FinishReason::cancelled) ++num_cancelled_;
  FinishEvent event{reason, "", session_usage(seen, limits_.session.window)};
  if (reason == FinishReason::stop && !limits_.end_tokens.empty()) event.stop_token = limits_.end_tokens[0];
  active.submission.listener->on_finish(std::move(event));
}

}  // namespace sinkstream::testing
