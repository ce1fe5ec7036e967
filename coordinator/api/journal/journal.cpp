#include "coordinator/api/journal/journal.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <exception>

#include "base/durations.h"

namespace sinkstream {
namespace {

using Clock = std::chrono::steady_clock;

// Writing takes the journal's thread a small share of its time: of each stretch so many times as long as its
// writes take, some of it in advance. What comes before more may be written becomes one write, after no
// longer than nobody sees.
constexpr double kTimesAWrite = 50;
constexpr std::chrono::milliseconds kInAdvance{100};
constexpr std::chrono::milliseconds kMostGather{20};

constexpr std::chrono::seconds kBetweenCounts{1};  // of the bytes on disk

// Of this thread: what it waits for others costs nothing.
double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return to_seconds(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

}  // namespace

struct Journal::Watchers {
  struct Watcher {
    std::string session;
    std::weak_ptr<Failed> failed;
  };
  void remove(const Failed* ended) {
    const std::lock_guard lock(mutex);
    all.erase(ended);
  }
  std::mutex mutex;
  std::map<const Failed*, Watcher> all;  // guarded by mutex
};

Journal::Journal(const JournalSettings& settings)
    : sync_seconds_(settings.sync_seconds),
      watchers_(std::make_shared<Watchers>()),
      store_([&] {
        StoreSettings store = settings.store;
        store.sync_each_write = settings.sync_seconds == 0;
        return store;
      }()),
      next_sync_(Clock::now()) {
  stats_.bytes = store_.bytes();
}

void Journal::start(std::weak_ptr<Executor> executor) {
  executor_ = std::move(executor);
  thread_ = std::thread([this] { run(); });
}

Journal::~Journal() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Journal::Entry::apply(SessionStore& store) const {
  if (change) change(store);
  if (!tokens.empty()) store.append(session, begin, tokens);
}

void Journal::append(const std::string& session, std::int64_t begin, std::span<const TokenId> tokens) {
  if (tokens.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    const auto found = growing_.find(session);
    if (found != growing_.end()) {
      std::vector<TokenId>& before = entries_[found->second].tokens;
      before.insert(before.end(), tokens.begin(), tokens.end());
      return;
    }
  }
  add({.session = session, .begin = begin, .tokens = {tokens.begin(), tokens.end()}});
}

void Journal::write(const std::string& session, Change change) {
  add({.session = session, .change = std::move(change)});
}

void Journal::after(const std::string& session, std::function<void()> done, Failed failed) {
  add({.session = session, .done = std::move(done), .failed = std::move(failed)});
}

std::shared_ptr<void> Journal::watch(const std::string& session, Failed failed) {
  const std::shared_ptr<Failed> watcher(new Failed(std::move(failed)),
                                        [weak = std::weak_ptr(watchers_)](const Failed* ended) {
                                          if (const auto watchers = weak.lock()) watchers->remove(ended);
                                          delete ended;
                                        });
  const std::lock_guard lock(watchers_->mutex);
  watchers_->all[watcher.get()] = {session, watcher};
  return watcher;
}

// Who has waited hears of it before what is done about it.
void Journal::tell_of_failure(const std::string& session, const std::string& why) {
  std::vector<std::shared_ptr<Failed>> told;
  {
    const std::lock_guard lock(watchers_->mutex);
    for (const auto& [key, watcher] : watchers_->all) {
      if (watcher.session != session) continue;
      if (auto failed = watcher.failed.lock()) told.push_back(std::move(failed));
    }
  }
  for (const auto& failed : told) (*failed)(why);
  if (listener_) listener_(session);
}

void Journal::mend(const std::string& session) {
  add({.session = session, .mends = true});
}

void Journal::add(Entry entry) {
  const std::lock_guard lock(mutex_);
  if (!entry.tokens.empty()) {
    growing_[entry.session] = entries_.size();
  } else if (entry.change || entry.mends) {
    growing_.erase(entry.session);
  }
  entries_.push_back(std::move(entry));
  if (entries_.size() == 1) wake_.notify_one();
}

Journal::Stats Journal::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

// ---- Its thread

void Journal::run() {
  while (true) {
    std::vector<Entry> entries = take();
    if (entries.empty()) break;
    take_in(entries);
    sync_at_its_time();
  }
  if (unsynced_) sync();
}

void Journal::sync() {
  try {
    store_.sync();
  } catch (const StoreFailure& failure) {
    spdlog::error("sessions: {}", failure.what());
    note_problem(failure.what());
  }
}

void Journal::note_problem(const std::string& problem) {
  const std::lock_guard lock(mutex_);
  stats_.problem = problem;
}

// Waits for entries; none: it ends.
std::vector<Journal::Entry> Journal::take() {
  std::unique_lock lock(mutex_);
  const auto has_news = [this] { return stopping_ || !entries_.empty(); };
  while (!has_news()) {
    if (!unsynced_) {
      wake_.wait(lock, has_news);
    } else if (!wake_.wait_until(lock, next_sync_, has_news)) {
      lock.unlock();
      sync_at_its_time();
      lock.lock();
    }
  }
  wake_.wait_until(lock, paid_until_ - kInAdvance, [this] { return stopping_; });
  growing_.clear();
  return std::exchange(entries_, {});
}

void Journal::take_in(std::span<Entry> entries) {
  const Clock::time_point begin = Clock::now();
  const double begin_on_processor = processor_seconds();
  for (auto next = entries.begin(); next != entries.end();) {
    const auto is_change = [](const Entry& entry) { return !entry.look && !entry.mends; };
    const auto last = std::find_if_not(next, entries.end(), is_change);
    write_together({next, last});
    if ((next = last) == entries.end()) break;
    if (next->look) next->look(store_);
    if (next->mends) broken_.erase(next->session);
    ++next;
  }
  const double seconds = to_seconds(Clock::now() - begin);
  const bool counts = begin >= next_count_;
  const std::int64_t bytes = counts ? store_.bytes() : 0;
  if (counts) next_count_ = begin + kBetweenCounts;
  const std::chrono::duration<double> paid(kTimesAWrite * (processor_seconds() - begin_on_processor));
  paid_until_ = std::min(std::max(paid_until_, begin) + std::chrono::duration_cast<Clock::duration>(paid),
                         Clock::now() + kInAdvance + kMostGather);
  {
    const std::lock_guard lock(mutex_);
    ++stats_.writes;
    stats_.write_seconds += seconds;
    if (counts) stats_.bytes = bytes;
  }
  unsynced_ = sync_seconds_ > 0;
  const auto executor = executor_.lock();
  if (!executor || tasks_.empty()) return;
  executor->post([tasks = std::exchange(tasks_, {})] {
    for (const auto& task : tasks) task();
  });
}

// As one transaction; where that fails, as far as they can be written by themselves.
void Journal::write_together(std::span<Entry> entries) {
  const auto is_written = [this](const Entry& entry) {
    return entry.changes() && !broken_.contains(entry.session);
  };
  if (std::ranges::any_of(entries, is_written)) {
    try {
      store_.begin();
      for (const Entry& entry : entries) {
        if (is_written(entry)) entry.apply(store_);
      }
      store_.commit();
      note_problem("");
    } catch (const std::exception&) {
      store_.rollback();
      for (Entry& entry : entries) {
        if (is_written(entry)) write_alone(entry);
        answer(entry);
      }
      return;
    }
  }
  for (Entry& entry : entries) answer(entry);
}

void Journal::write_alone(const Entry& entry) {
  try {
    store_.begin();
    entry.apply(store_);
    store_.commit();
    note_problem("");
  } catch (const std::exception& failure) {
    store_.rollback();
    {
      const std::lock_guard lock(mutex_);
      ++stats_.failures;
      stats_.problem = failure.what();
    }
    spdlog::error("session {}: {}", entry.session, failure.what());
    if (entry.session.empty()) return;  // nobody waits for it
    broken_[entry.session] = failure.what();
    tasks_.push_back([this, session = entry.session, why = std::string(failure.what())] {
      tell_of_failure(session, why);
    });
  }
}

void Journal::answer(Entry& entry) {
  if (!entry.done) return;
  const auto broken = broken_.find(entry.session);
  if (broken == broken_.end()) return tasks_.push_back(std::move(entry.done));
  tasks_.push_back([failed = std::move(entry.failed), why = broken->second] { failed(why); });
}

void Journal::sync_at_its_time() {
  if (!unsynced_ || Clock::now() < next_sync_) return;
  next_sync_ = Clock::now() + to_milliseconds(sync_seconds_);
  unsynced_ = false;
  sync();
}

}  // namespace sinkstream
