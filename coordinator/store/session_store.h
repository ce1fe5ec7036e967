// Sessions on the disk: their tokens, what else is to be known of them, and Idempotency-Keys; an SQLite
// database.
//
// Whatever happens to the file, what is read is what was written, or is said to be damaged: every row has a
// checksum. What was committed outlives this process, however it ends. Whether it outlives the host is the
// settings' choice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/token_id.h"
#include "coordinator/store/store_failure.h"

namespace sinkstream {

struct StoreSettings {
  std::filesystem::path directory;
  std::string model;       // a fingerprint: another model's sessions mean nothing here
  std::string model_name;  // for messages
  // true: each commit is on the disk when it returns. false: it is in the hands of the operating system, and
  // on the disk after the next sync().
  bool sync_each_write = false;
};

struct StoredSession {
  std::string id;
  std::string head;  // what its owner made of it: bytes
  std::int64_t last_used_at = 0;
  std::int64_t tokens = 0;  // the end of its tokens
  // false: what is known of it is damaged. It has no head, and what stands there of the time; the latest
  // there is if that can't be read.
  bool sound = true;
};

// What is sound of the tokens that were asked for.
struct StoredTokens {
  std::int64_t begin = 0;  // the first position that is there; where none is, of those that follow
  std::vector<TokenId> tokens;
  // From here on the session's tokens are damaged or missing. Nothing: all that was asked for is sound.
  std::optional<std::int64_t> damaged_from;
};

// Where an answer stands among a session's tokens: [begin, end).
struct StoredAnswer {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  bool operator==(const StoredAnswer&) const = default;
};

// Throws StartupError as the constructor of SessionStore does, as far as what is in the way can be seen
// without reading it all.
void check_store(const StoreSettings& settings);

// One thread at a time. Times are whatever the caller counts. What is not named throws StoreFailure; calls
// that make no sense (no such session, a change without begin()) throw std::logic_error.
class SessionStore {
 public:
  // Makes the directory and the database if they aren't there, and locks the directory. Reads it all: a
  // database whose pages do not fit together is made anew of what is sound, and the log says so. Throws
  // StartupError (ExitCode::config) that says what is in the way: another process, another model, a newer
  // format, damage.
  explicit SessionStore(StoreSettings settings);
  ~SessionStore();
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;

  // To hash with what must not be read on the disk; the same as long as the directory is.
  std::string salt();
  // The oldest first; for each that is not sound a warning in the log.
  std::vector<StoredSession> list();
  // Those of [from, to), as far as they are there, sound, and without a gap: where pruned ones lie between,
  // those behind them. What comes before the first damaged row is sound.
  StoredTokens tokens(const std::string& id, std::int64_t from, std::int64_t to);
  std::int64_t end(const std::string& id) const;  // of its tokens, sound or not
  std::string head(const std::string& id);        // StoreFailure (damaged) if it isn't sound
  // Those that are sound, by position; for each other a warning in the log.
  std::vector<StoredAnswer> answers(const std::string& id);

  // Changes come between begin() and commit(). After a failure, rollback() makes the store what it was at
  // begin().
  void begin();
  void commit();
  void rollback();  // nothing without begin()

  // Makes a session without tokens, or replaces its head.
  void put(const std::string& id, std::string_view head, std::int64_t last_used_at);
  // Positions [begin, begin + n), where `begin` is the end of what is there. Costs the same however much that
  // is.
  void append(const std::string& id, std::int64_t begin, std::span<const TokenId> tokens);
  void truncate(const std::string& id, std::int64_t end);  // tokens from `end` on go
  // Each behind those that are there. They go with their tokens, by truncate(), prune() and remove(); one
  // that is cut goes, too.
  void put_answers(const std::string& id, std::span<const StoredAnswer> answers);
  // An answer is appended token by token, each a row. Rows that begin at `from` or later become as few as
  // can be.
  void merge(const std::string& id, std::int64_t from);
  // The tokens [.., end) of a session become those of another, which keeps none of its own; answers do not.
  // What is damaged of them is damaged there, too.
  void copy(const std::string& from, const std::string& to, std::int64_t end);
  // Tokens in [sinks, first_kept) may go: whole rows do, so a few stay.
  void prune(const std::string& id, std::int64_t first_kept, std::int64_t sinks);
  void remove(const std::string& id);  // nothing if there is none

  struct StoredKey {
    std::string owner;
    std::string key;
    std::string what;  // came with it: a fingerprint
    std::int64_t expires_at = 0;
  };
  // Makes or replaces an Idempotency-Key.
  void put_key(const std::string& owner, const std::string& key, std::string_view what,
               std::int64_t expires_at);
  void remove_key(const std::string& owner, const std::string& key);  // nothing if there is none
  // Those that have not expired at `now`; the others are forgotten. Also outside begin() and commit().
  std::vector<StoredKey> keys(std::int64_t now);

  // Everything committed is on the disk when it returns; the log goes into the database. Not between begin()
  // and commit().
  void sync();
  // In use on the disk. What removed sessions leave free in the file is used again, and not counted.
  std::int64_t bytes();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sinkstream
