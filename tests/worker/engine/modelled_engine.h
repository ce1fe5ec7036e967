// A model for the scheduler alone: the token that it chooses depends on all that a model of two layers can
// know of what its slot has taken in, so that a session that was copied, taken back, continued or made anew
// wrongly says something else.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/cache_geometry.h"
#include "tests/worker/engine/told.h"
#include "worker/engine/scheduler.h"

namespace sinkstream {

// A ring of 18 places for windows of 10: little enough for tests to go all around it.
inline SchedulerLimits small_limits(std::int32_t slots = 4, std::int32_t places = 0) {
  SchedulerLimits limits;
  limits.num_slots = slots;
  limits.num_places = places;
  limits.place_bytes = 100;
  limits.max_queue = 100;
  limits.prefill_chunk = 12;
  limits.session_chunk = 8;
  limits.session.window = {2, 10};
  limits.session.sink_capacity = 2;
  limits.session.ring_capacity = 18;
  limits.session.num_layers = 2;
  limits.end_tokens = {1};
  return limits;
}

// What the ranks would have in their slots. Fails a test when a plan does not follow on the last.
class ModelledSlots {
 public:
  explicit ModelledSlots(const SchedulerLimits& limits)
      : ring_capacity_(limits.session.ring_capacity),
        slots_(static_cast<std::size_t>(limits.num_slots)),
        places_(static_cast<std::size_t>(limits.num_places) + 2) {}

  std::vector<kernels::Choice> apply(const StepPlan& plan) {
    failures.clear();
    for (std::size_t i = 0; i < plan.operations.size(); ++i) {
      std::visit([this](const auto& o) { apply(o); }, plan.operations[i]);
      if (const auto* const asked = std::get_if<AskJob>(&plan.operations[i])) {
        answer(asked->job, static_cast<std::int32_t>(i));
      }
    }
    for (const PlanRow& row : plan.rows) take_in(row);
    for (const PlanRow& row : plan.rows)
      expect_window(row);  // all keys of a step are written before any is read
    std::vector<kernels::Choice> choices;
    for (const PlanOutput& output : plan.outputs) {
      const PlanRow& row = plan.rows.at(static_cast<std::size_t>(output.row));
      if (output.kind == PlanOutput::Kind::score) {
        choices.push_back({.token = output.target, .logprob = -1});
        continue;
      }
      Slot& slot = at(row.slot);
      EXPECT_TRUE(slot.in_turn);
      EXPECT_EQ(row.position + 1, std::ssize(slot.content)) << "a token is chosen from the newest row";
      slot.last_choice = choose(slot.content, slot.seed);
      choices.push_back({.token = slot.last_choice, .logprob = -1});
    }
    return choices;
  }

  // Greater than every end token of these tests, and than what a prompt holds.
  static TokenId choose(const std::vector<TokenId>& content, std::uint64_t seed) {
    constexpr std::ptrdiff_t kSinks = 2, kNewest = 2 * (10 - 1) + 1;
    std::uint64_t hash = 1469598103934665603ull + seed;
    const auto add = [&](std::int64_t value) {
      hash = (hash ^ static_cast<std::uint64_t>(value)) * 1099511628211ull;
    };
    add(std::ssize(content));
    for (std::ptrdiff_t i = 0; i < std::ssize(content); ++i) {
      if (i < kSinks || i >= std::ssize(content) - kNewest) add(content[static_cast<std::size_t>(i)]);
    }
    return 1000 + static_cast<TokenId>((hash >> 20) % 1'000'000);
  }

  std::int64_t rows = 0;  // taken in

  // ---- Files
  enum class Job { done, unfinished, failed };
  std::function<Job(std::uint64_t job)> look_at_job = [](std::uint64_t) { return Job::done; };
  std::vector<OperationFailure> failures;  // of the last plan: what came of jobs that it asks for
  std::optional<Snapshot> find(std::uint64_t session) const {
    const auto file = files_.find(session);
    return file == files_.end() ? std::nullopt : std::optional(file->second.first);
  }
  std::size_t num_files() const { return files_.size(); }

 private:
  struct Slot {
    bool open = false, in_turn = false;
    CacheWindow window;
    std::int64_t written = 0, ring_begin = 0;
    std::uint64_t seed = 0;
    std::vector<TokenId> content;
    std::map<std::int64_t, std::pair<std::int64_t, TokenId>> ring;  // by place: the position there, its token
    TokenId last_choice = -1;
  };

  Slot& at(std::int32_t slot) { return slots_.at(static_cast<std::size_t>(slot)); }
  void apply(const OpenSlot& operation) {
    EXPECT_FALSE(at(operation.slot).open);
    Slot& slot = at(operation.slot);
    slot = {.open = true, .window = operation.window, .content = {}, .ring = std::move(slot.ring)};
  }
  void apply(const BeginTurn& operation) {
    Slot& slot = at(operation.slot);
    EXPECT_TRUE(slot.open);
    slot.in_turn = true;
    slot.last_choice = -1;
    slot.seed = operation.sampling.seed;
  }
  void apply(const CopySlot& operation) {
    EXPECT_TRUE(at(operation.from).open);
    EXPECT_FALSE(at(operation.slot).open);
    at(operation.slot) = at(operation.from);
    at(operation.slot).in_turn = false;
    at(operation.slot).last_choice = -1;
  }
  void apply(const SkipSlot& operation) {
    constexpr TokenId kUnknown = -1;
    Slot& slot = at(operation.slot);
    EXPECT_TRUE(slot.open);
    EXPECT_EQ(slot.written, std::ssize(slot.content));
    EXPECT_GT(operation.position, slot.written);
    slot.content.resize(static_cast<std::size_t>(operation.position), kUnknown);
    slot.written = slot.ring_begin = operation.position;
  }
  void apply(const RollBackSlot& operation) {
    Slot& slot = at(operation.slot);
    EXPECT_TRUE(slot.open);
    EXPECT_LT(operation.length, std::ssize(slot.content));
    EXPECT_TRUE(can_roll_back(slot.written, operation.length, slot.window, ring_capacity_));
    slot.written = written_after_roll_back(slot.written, operation.length, slot.window);
    slot.content.resize(static_cast<std::size_t>(operation.length));
    slot.in_turn = false;
    slot.last_choice = -1;
  }
  void apply(const CloseSlot& operation) {
    EXPECT_TRUE(at(operation.slot).open);
    at(operation.slot) = {};
  }
  // What was written in a slot goes with the session; the slot's memory stays as it is, for the next.
  void apply(const SaveSlot& operation) {
    const Slot& slot = at(operation.slot);
    EXPECT_TRUE(slot.open);
    save(slot, operation.place);
  }
  void apply(const LeaveSlot& operation) {
    Slot& slot = at(operation.slot);
    EXPECT_TRUE(slot.open);
    slot = {.window = {}, .content = {}, .ring = std::move(slot.ring)};
  }
  void apply(const RestoreSlot& operation) {
    const Slot& saved = places_.at(static_cast<std::size_t>(operation.place));
    EXPECT_TRUE(saved.open);
    EXPECT_FALSE(at(operation.slot).open);
    at(operation.slot) = saved;
    at(operation.slot).in_turn = false;
    at(operation.slot).last_choice = -1;
  }
  void apply(const CopySaved& operation) {
    const Slot& saved = places_.at(static_cast<std::size_t>(operation.from));
    EXPECT_TRUE(saved.open);
    save(saved, operation.place);
  }
  void apply(const DropSaved& operation) {
    Slot& saved = places_.at(static_cast<std::size_t>(operation.place));
    EXPECT_TRUE(saved.open);
    saved = {};
  }
  void apply(const WriteSnapshot& operation) {
    const Slot& saved = places_.at(static_cast<std::size_t>(operation.place));
    EXPECT_TRUE(saved.open);
    EXPECT_GE(std::ssize(saved.content), operation.snapshot.seen);
    EXPECT_EQ(saved.window, operation.snapshot.window);
    EXPECT_GE(saved.written, operation.snapshot.written);  // less where it went back to the begin
    ++jobs_;
    Slot content = saved;
    content.content.resize(static_cast<std::size_t>(operation.snapshot.seen));
    content.written = operation.snapshot.written;
    files_[operation.snapshot.name.session] = {operation.snapshot, std::move(content)};
  }
  // One that isn't there as it is asked for: a job that fails.
  void apply(const ReadSnapshot& operation) {
    ++jobs_;
    const auto file = files_.find(operation.snapshot.name.session);
    if (file == files_.end() || file->second.first != operation.snapshot) {
      failed_jobs_.insert(jobs_);
      return save({.open = true, .window = {}, .content = {}, .ring = {}}, operation.place);
    }
    save(file->second.second, operation.place);
  }
  void apply(const RemoveSnapshot& operation) {
    ++jobs_;
    files_.erase(operation.session);
  }
  void apply(const KeepOnlySnapshots& operation) {
    ++jobs_;
    std::erase_if(files_, [&](const auto& file) {
      return std::ranges::find(operation.sessions, file.first) == operation.sessions.end();
    });
  }
  void apply(const AskJob& operation) {
    EXPECT_GE(operation.job, 1u);
    EXPECT_LE(operation.job, jobs_);
  }
  void answer(std::uint64_t job, std::int32_t operation) {
    const Job outcome = failed_jobs_.contains(job) ? Job::failed : look_at_job(job);
    if (outcome == Job::unfinished) failures.push_back({operation, "", true});
    if (outcome == Job::failed) failures.push_back({operation, "it is damaged"});
  }
  void save(const Slot& slot, std::int32_t place) {
    Slot& saved = places_.at(static_cast<std::size_t>(place));
    EXPECT_FALSE(saved.open);
    saved = slot;
  }
  void take_in(const PlanRow& row) {
    Slot& slot = at(row.slot);
    EXPECT_TRUE(slot.open);
    EXPECT_EQ(row.position, std::ssize(slot.content));
    const TokenId token = row.token == kernels::kLastChosen ? slot.last_choice : row.token;
    EXPECT_GE(token, 0) << "nothing was chosen";
    slot.ring[row.position % ring_capacity_] = {row.position, token};
    slot.content.push_back(token);
    slot.written = std::max(slot.written, std::ssize(slot.content));
    ++rows;
  }

  void expect_window(const PlanRow& row) {
    const Slot& slot = at(row.slot);
    const std::int64_t begin = std::max(slot.ring_begin, window_begin(row.position, slot.window));
    for (std::int64_t p = begin; p <= row.position; ++p) {
      const auto there = slot.ring.find(p % ring_capacity_);
      const bool is_there = there != slot.ring.end() &&
                            there->second == std::pair(p, slot.content[static_cast<std::size_t>(p)]);
      EXPECT_TRUE(is_there) << "position " << p << " is not what a token at " << row.position
                            << " attends to";
    }
  }

  std::int64_t ring_capacity_;
  std::vector<Slot> slots_, places_;
  std::uint64_t jobs_ = 0;
  std::set<std::uint64_t> failed_jobs_;
  std::map<std::uint64_t, std::pair<Snapshot, Slot>> files_;  // by session
};

// Drives a scheduler with it. A step's outcome comes when `depth` are under way, or when there is no other to
// launch.
class ModelledEngine {
 public:
  ModelledEngine(int depth, SchedulerLimits limits)
      : slots(limits),
        scheduler(with_files(std::move(limits)), [this](Event event) { ledger.on_event(std::move(event)); }),
        depth_(static_cast<std::size_t>(depth)) {}

  template <typename C>
  RequestId send(C command) {
    command.request = next_request_++;
    const RequestId request = command.request;
    if constexpr (std::is_same_v<C, Generate>) {
      scheduler.take(std::move(command), std::chrono::steady_clock::now());
    } else {
      scheduler.take(command);
    }
    return request;
  }

  bool step() {
    while (under_way_.size() < depth_) {
      const auto plan = scheduler.next();
      if (!plan) break;
      under_way_.push_back(slots.apply(*plan));
      failures = slots.failures;
      launched(*plan);
      scheduler.note_launch(failures);
    }
    if (under_way_.empty()) return false;
    const auto choices = std::move(under_way_.front());
    under_way_.pop_front();
    scheduler.note_seconds(static_cast<double>(1 + 7 * steps_++ % 13));
    scheduler.commit(choices);
    return true;
  }
  void run(int steps = 10'000) {
    for (int i = 0; i < steps; ++i) {
      if (step()) continue;
      const auto asks_at = scheduler.asks_at();
      if (!asks_at) return;
      std::this_thread::sleep_until(*asks_at);
    }
  }
  const Told& run(Generate command) {
    const RequestId request = send(std::move(command));
    run();
    return ledger.of(request);
  }
  EngineStats stats() const {
    EngineStats stats;
    scheduler.add_counts(stats);
    return stats;
  }
  std::int64_t running() const { return stats().running; }

  Ledger ledger;
  ModelledSlots slots;
  Scheduler scheduler;
  std::vector<OperationFailure> failures;  // of the step that is being launched
  std::function<void(const StepPlan&)> launched = [](const StepPlan&) {};

 private:
  SchedulerLimits with_files(SchedulerLimits limits) {
    limits.find_snapshot = [this](std::uint64_t session) { return slots.find(session); };
    return limits;
  }

  std::size_t depth_;
  int steps_ = 0;
  std::deque<std::vector<kernels::Choice>> under_way_;  // oldest first
  RequestId next_request_ = 1;
};

// What a session that was given `content` says: as many tokens as asked for.
inline std::vector<TokenId> said_after(std::vector<TokenId> content, std::size_t tokens,
                                       std::uint64_t seed = 0) {
  std::vector<TokenId> said;
  while (said.size() < tokens) {
    said.push_back(ModelledSlots::choose(content, seed));
    content.push_back(said.back());
  }
  return said;
}

inline std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline std::vector<TokenId> counting_tokens(std::int64_t count, TokenId first = 10) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace sinkstream
