// Sessions on disk as they change: whatever a client is told was written before it is told.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "coordinator/http/executor.h"
#include "coordinator/store/session_store.h"

namespace sinkstream {

struct JournalSettings {
  StoreSettings store;
  double sync_seconds = 1;  // how often all that was written is brought to the disk; 0: with each write
};

// Any thread, but where something else is said. It has a thread of its own for the store, which takes what
// has come since the last write as one. What is given in an order by one thread is written in that order.
//
// Where a session's change can't be written, nor what comes after it: the session stays on disk as it was,
// and whoever waits for its changes is told. The others go on.
class Journal {
 public:
  using Change = std::function<void(SessionStore& store)>;  // may throw StoreFailure
  using Failed = std::function<void(const std::string& why)>;

  // Throws StartupError, as SessionStore does.
  explicit Journal(const JournalSettings& settings);
  ~Journal();  // writes what was given, and brings it to the disk
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void start(std::weak_ptr<Executor> executor);      // once, before all else
  const std::string& salt() const { return salt_; }  // as SessionStore has it
  void write(const std::string& session, Change change);
  // Tokens at the end of a session's: those that come soon after one another become one row.
  void append(const std::string& session, std::int64_t begin, std::span<const TokenId> tokens);
  // When all that was given before is written: `done`; where that of this session was not: `failed`. The I/O
  // thread.
  void after(const std::string& session, std::function<void()> done, Failed failed);
  // Who is told as soon as a change of the session could not be written, whether anybody waits for it or not,
  // as long as the result is kept. The I/O thread.
  std::shared_ptr<void> watch(const std::string& session, Failed failed);
  // What a session's failure asks for is done: its changes are written again from here on.
  void mend(const std::string& session);

  // Lets somebody see the store when all that was given before is written; on the journal's thread, so
  // shortly.
  void look(std::function<void(SessionStore&)> look) { add({.session = {}, .look = std::move(look)}); }
  // Waits for what `read` finds in the store when all that was given before is written; it may throw
  // StoreFailure. Not on the I/O thread.
  template <typename Read>
  auto read(Read read) {
    using Result = std::invoke_result_t<Read, SessionStore&>;
    auto result = std::make_shared<std::promise<Result>>();
    std::future<Result> found = result->get_future();
    look([result, read = std::move(read)](SessionStore& store) {
      try {
        result->set_value(read(store));
      } catch (...) {
        result->set_exception(std::current_exception());
      }
    });
    return found.get();
  }

  // Whom to tell when a session's change could not be written, on the I/O thread. Before the first change.
  void on_failure(std::function<void(const std::string& session)> listener) {
    listener_ = std::move(listener);
  }

  struct Stats {
    std::int64_t writes = 0;  // transactions
    double write_seconds = 0;
    std::int64_t failures = 0;
    std::int64_t bytes = 0;  // on disk, about
    std::string problem;     // why the newest write failed; empty: it did not
  };
  Stats stats() const;

 private:
  struct Entry {
    std::string session;
    Change change = {};
    std::function<void()> done = {};
    Failed failed = {};
    std::function<void(SessionStore&)> look = {};
    bool mends = false;
    std::int64_t begin = 0;  // of `tokens`, which are to be appended
    std::vector<TokenId> tokens = {};

    bool changes() const { return change || !tokens.empty(); }
    void apply(SessionStore& store) const;
  };

  void add(Entry entry);
  void run();
  std::vector<Entry> take();
  void take_in(std::span<Entry> entries);
  void write_together(std::span<Entry> entries);
  void write_alone(const Entry& entry);
  void answer(Entry& entry);
  void tell_of_failure(const std::string& session, const std::string& why);
  void sync_at_its_time();
  void sync();
  void note_problem(const std::string& problem);  // empty: it works

  std::weak_ptr<Executor> executor_;
  const double sync_seconds_;
  std::function<void(const std::string&)> listener_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Entry> entries_;  // guarded by mutex_
  // Where tokens of a session stand in `entries_` that no other change of it follows; guarded by mutex_.
  std::unordered_map<std::string, std::size_t> growing_;
  bool stopping_ = false;  // guarded by mutex_
  Stats stats_;            // guarded by mutex_
  struct Watchers;         // who watches may outlive the journal
  const std::shared_ptr<Watchers> watchers_;

  // The journal's thread only.
  SessionStore store_;
  const std::string salt_ = store_.salt();
  std::map<std::string, std::string> broken_;  // sessions whose changes are not written, and why
  std::vector<std::function<void()>> tasks_;   // for the I/O thread, when the entries at hand are written
  std::chrono::steady_clock::time_point next_sync_, next_count_;
  bool unsynced_ = false;
  std::chrono::steady_clock::time_point paid_until_;  // of its time, for what was written
  std::thread thread_;
};

}  // namespace sinkstream
