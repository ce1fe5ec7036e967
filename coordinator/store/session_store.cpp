#include "coordinator/store/session_store.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "coordinator/store/answer_rows.h"
#include "coordinator/store/database.h"
#include "coordinator/store/row_checksum.h"
#include "coordinator/store/salvage.h"
#include "coordinator/store/session_index.h"
#include "coordinator/store/store_directory.h"
#include "coordinator/store/store_format.h"
#include "coordinator/store/token_rows.h"
#include "coordinator/store/write_ahead_log.h"

namespace sinkstream {

struct SessionStore::Impl {
  explicit Impl(const StoreSettings& settings);

  void require_transaction() const;
  StoredSession stored(const std::string& id);
  RowOwner owner(const std::string& id) const { return {index.at(id).number, id}; }
  void put_extent(const std::string& id, const IndexedSession& session);
  void copy_rows(const std::string& from, const std::string& to, std::int64_t begin, std::int64_t end);
  [[noreturn]] void fail_damaged(const std::string& what) const;

  StoreDirectory directory;
  Database database;
  SessionIndex index;
  TokenRows rows;
  AnswerRows answers{database};
  bool changing = false;  // between begin() and commit()

  Statement begin_changes{database, "BEGIN IMMEDIATE"};
  Statement commit_changes{database, "COMMIT"};
  Statement undo_changes{database, "ROLLBACK"};
  Statement select_head{database, "SELECT head, last_used_at, crc FROM sessions WHERE session = ?1"};
  Statement put_head{database, "INSERT OR REPLACE INTO sessions VALUES(?1, ?2, ?3, ?4, ?5)"};
  Statement delete_head{database, "DELETE FROM sessions WHERE session = ?1"};
  Statement insert_extent{database, "INSERT OR REPLACE INTO extents VALUES(?1, ?2, ?3, ?4, ?5)"};
  Statement delete_extent{database, "DELETE FROM extents WHERE session = ?1"};
  Statement insert_key{database, "INSERT OR REPLACE INTO keys VALUES(?1, ?2, ?3, ?4, ?5)"};
  Statement delete_key{database, "DELETE FROM keys WHERE owner = ?1 AND key = ?2"};
  Statement select_keys{database, "SELECT owner, key, what, expires_at, crc FROM keys"};
  Statement delete_expired_keys{database, "DELETE FROM keys WHERE expires_at <= ?1"};
};

namespace {

// Whoever opens the database takes the log in.
void warn_of_damaged_log(const StoreDirectory& directory) {
  const std::string damage = damage_of_log(directory.log_file());
  if (damage.empty()) return;
  spdlog::warn("sessions: {}: {}: what was written last is lost", directory.log_file().string(), damage);
}

Database open_database(const StoreDirectory& directory, const StoreSettings& settings) {
  warn_of_damaged_log(directory);
  Database database = open_sound(directory, settings);
  directory.sync();
  return database;
}

std::int64_t key_checksum(std::string_view owner, std::string_view key, std::string_view what,
                          std::int64_t expires_at) {
  return row_checksum("keys", owner, key, what, expires_at);
}

std::int64_t size_of(const std::filesystem::path& file) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

}  // namespace

SessionStore::Impl::Impl(const StoreSettings& settings)
    : directory(settings.directory),
      database(open_database(directory, settings)),
      index(database),
      rows(database) {}

void SessionStore::Impl::require_transaction() const {
  if (!changing) throw std::logic_error("a change of the session store without begin()");
  if (!database.in_transaction()) {
    throw StoreFailure(StoreFault::other, database.file().string() + ": these changes have failed already");
  }
}

void SessionStore::Impl::put_extent(const std::string& id, const IndexedSession& session) {
  const Extent& extent = session.extent;
  insert_extent.run(session.number, extent.end, extent.pruned_begin, extent.pruned_end,
                    extent_checksum(id, extent));
}

void SessionStore::Impl::fail_damaged(const std::string& what) const {
  throw StoreFailure(StoreFault::damaged, fmt::format("{}: {}: the file is damaged; look after the disk",
                                                      database.file().string(), what));
}

namespace {

template <typename Action>
void at_start(Action action) {
  try {
    action();
  } catch (const StoreFailure& failure) {
    throw StartupError(ExitCode::config, std::string("sessions.directory: ") + failure.what());
  }
}

}  // namespace

void check_store(const StoreSettings& settings) {
  at_start([&] {
    const StoreDirectory directory(settings.directory);
    if (size_of(directory.database_file()) == 0) return;  // it is new
    warn_of_damaged_log(directory);
    Database database(directory.database_file());
    open_format(database, settings.sync_each_write, settings.model, settings.model_name);
  });
}

SessionStore::SessionStore(StoreSettings settings) {
  at_start([&] { impl_ = std::make_unique<Impl>(settings); });
}

SessionStore::~SessionStore() = default;

std::string SessionStore::salt() {
  return salt_of(impl_->database);
}

StoredSession SessionStore::Impl::stored(const std::string& id) {
  const IndexedSession& session = index.at(id);
  StoredSession damaged{.id = id,
                        .head = {},
                        .last_used_at = std::numeric_limits<std::int64_t>::max(),
                        .tokens = session.extent.end,
                        .sound = false};
  try {
    Query row = select_head.query(session.number);
    if (!row.next()) return damaged;
    damaged.last_used_at = row.integer(1);
    if (row.integer(2) != head_checksum(id, row.bytes(0), row.integer(1))) return damaged;
    return {id, std::string(row.bytes(0)), row.integer(1), session.extent.end};
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
    return damaged;
  }
}

std::vector<StoredSession> SessionStore::list() {
  std::vector<StoredSession> sessions;
  for (const std::string& id : impl_->index.ids()) {
    sessions.push_back(impl_->stored(id));
    if (sessions.back().sound) continue;
    spdlog::warn("sessions: what is known of {}, of {} tokens, is damaged in {}", id, sessions.back().tokens,
                 impl_->database.file().string());
  }
  return sessions;
}

StoredTokens SessionStore::tokens(const std::string& id, std::int64_t from, std::int64_t to) {
  const auto& [number, extent, extent_sound] = impl_->index.at(id);
  const bool to_the_end = to >= extent.end;
  from = std::clamp<std::int64_t>(from, 0, extent.end);
  to = std::min(to, extent.end);
  if (to >= extent.pruned_end || from >= extent.pruned_begin) {
    from = std::max(from, extent.pruned_end);
  } else {
    to = std::min(to, extent.pruned_begin);
  }
  to = std::max(from, to);
  const std::int64_t lowest = from >= extent.pruned_end ? extent.pruned_end : 0;
  StoredTokens read = impl_->rows.read({number, id}, lowest, from, to);
  if (!extent_sound && to_the_end && !read.damaged_from) read.damaged_from = extent.end;
  return read;
}

std::int64_t SessionStore::end(const std::string& id) const {
  return impl_->index.at(id).extent.end;
}

std::string SessionStore::head(const std::string& id) {
  Query row = impl_->select_head.query(impl_->index.at(id).number);
  if (!row.next() || row.integer(2) != head_checksum(id, row.bytes(0), row.integer(1))) {
    impl_->fail_damaged("what is known of " + id);
  }
  return std::string(row.bytes(0));
}

std::vector<StoredAnswer> SessionStore::answers(const std::string& id) {
  return impl_->answers.read(impl_->owner(id));
}

void SessionStore::begin() {
  if (impl_->changing) throw std::logic_error("begin() of the session store, twice");
  impl_->begin_changes.run();
  impl_->changing = true;
}

void SessionStore::commit() {
  impl_->require_transaction();
  impl_->commit_changes.run();
  impl_->index.commit();
  impl_->changing = false;
}

void SessionStore::rollback() {
  if (!impl_->changing) return;
  impl_->changing = false;
  impl_->index.rollback();
  if (impl_->database.in_transaction()) impl_->undo_changes.run();
}

void SessionStore::put(const std::string& id, std::string_view head, std::int64_t last_used_at) {
  impl_->require_transaction();
  const bool is_new = !impl_->index.has(id);
  const IndexedSession& session = is_new ? impl_->index.add(id) : impl_->index.at(id);
  impl_->put_head.run(session.number, std::string_view(id), Blob{head}, last_used_at,
                      head_checksum(id, head, last_used_at));
  if (is_new) impl_->put_extent(id, session);
}

void SessionStore::append(const std::string& id, std::int64_t begin, std::span<const TokenId> tokens) {
  impl_->require_transaction();
  IndexedSession& session = impl_->index.change(id);
  if (!session.extent_sound) impl_->fail_damaged("cut it before it goes on: the end of " + id);
  if (begin != session.extent.end) {
    throw std::logic_error(
        fmt::format("tokens of {} from {} on, where it ends at {}", id, begin, session.extent.end));
  }
  impl_->rows.append({session.number, id}, begin, tokens);
  session.extent.end += static_cast<std::int64_t>(tokens.size());
  impl_->put_extent(id, session);
}

void SessionStore::put_answers(const std::string& id, std::span<const StoredAnswer> answers) {
  impl_->require_transaction();
  impl_->answers.put(impl_->owner(id), answers);
}

void SessionStore::truncate(const std::string& id, std::int64_t end) {
  impl_->require_transaction();
  IndexedSession& session = impl_->index.change(id);
  Extent& extent = session.extent;
  if (end >= extent.end && session.extent_sound) return;
  const RowOwner owner{session.number, id};
  impl_->rows.erase(owner, end, std::numeric_limits<std::int64_t>::max());
  impl_->rows.cut(owner, end);
  impl_->answers.erase_behind(owner, end);
  extent.end = std::min(extent.end, end);
  extent.pruned_end = std::min(extent.pruned_end, end);
  if (extent.pruned_begin >= extent.pruned_end) extent.pruned_begin = extent.pruned_end = 0;
  session.extent_sound = true;
  impl_->put_extent(id, session);
}

void SessionStore::merge(const std::string& id, std::int64_t from) {
  impl_->require_transaction();
  const Extent& extent = impl_->index.at(id).extent;
  impl_->rows.merge(impl_->owner(id), std::max(from, extent.pruned_end), extent.end);
}

void SessionStore::copy(const std::string& from, const std::string& to, std::int64_t end) {
  impl_->require_transaction();
  const IndexedSession source = impl_->index.at(from);
  IndexedSession& target = impl_->index.change(to);
  if (from == to || end > source.extent.end)
    throw std::logic_error("a copy of what " + from + " does not have");
  impl_->rows.erase({target.number, to}, 0, std::numeric_limits<std::int64_t>::max());
  Extent& extent = target.extent = source.extent;
  extent.end = end;
  extent.pruned_end = std::min(extent.pruned_end, end);
  if (extent.pruned_begin >= extent.pruned_end) extent.pruned_begin = extent.pruned_end = 0;
  target.extent_sound = true;
  impl_->copy_rows(from, to, 0, extent.pruned_begin);
  impl_->copy_rows(from, to, extent.pruned_end, end);
  impl_->put_extent(to, target);
}

void SessionStore::Impl::copy_rows(const std::string& from, const std::string& to, std::int64_t begin,
                                   std::int64_t end) {
  constexpr std::int64_t kAtOnce = 64 * TokenRows::kMostTokens;
  const std::int64_t lowest = begin;
  while (begin < end) {
    const StoredTokens read = rows.read(owner(from), lowest, begin, std::min(end, begin + kAtOnce));
    rows.append(owner(to), begin, read.tokens);
    begin += static_cast<std::int64_t>(read.tokens.size());
    // A damaged row has none in the copy, where its tokens are found to be damaged, too.
    if (read.damaged_from) begin = rows.first_from(owner(from), begin + 1).value_or(end);
  }
}

void SessionStore::prune(const std::string& id, std::int64_t first_kept, std::int64_t sinks) {
  impl_->require_transaction();
  IndexedSession& session = impl_->index.change(id);
  Extent& extent = session.extent;
  const RowOwner owner{session.number, id};
  const auto kept = first_kept >= extent.end ? extent.end : impl_->rows.last_until(owner, first_kept);
  const auto begin = impl_->rows.first_from(owner, sinks);
  if (!kept || !begin || *begin >= *kept) return;
  impl_->rows.erase(owner, *begin, *kept);
  impl_->answers.erase_until(owner, *kept);
  extent.pruned_begin = extent.pruned_end == 0 ? *begin : std::min(extent.pruned_begin, *begin);
  extent.pruned_end = std::max(extent.pruned_end, *kept);
  impl_->put_extent(id, session);
}

void SessionStore::remove(const std::string& id) {
  impl_->require_transaction();
  if (!impl_->index.has(id)) return;
  const RowOwner owner = impl_->owner(id);
  impl_->rows.erase(owner, 0, std::numeric_limits<std::int64_t>::max());
  impl_->answers.erase(owner);
  impl_->delete_extent.run(owner.number);
  impl_->delete_head.run(owner.number);
  impl_->index.remove(id);
}

void SessionStore::put_key(const std::string& owner, const std::string& key, std::string_view what,
                           std::int64_t expires_at) {
  impl_->require_transaction();
  impl_->insert_key.run(std::string_view(owner), std::string_view(key), Blob{what}, expires_at,
                        key_checksum(owner, key, what, expires_at));
}

void SessionStore::remove_key(const std::string& owner, const std::string& key) {
  impl_->require_transaction();
  impl_->delete_key.run(std::string_view(owner), std::string_view(key));
}

std::vector<SessionStore::StoredKey> SessionStore::keys(std::int64_t now) {
  std::vector<StoredKey> keys;
  impl_->delete_expired_keys.run(now);
  Query rows = impl_->select_keys.query();
  while (rows.next()) {
    const bool sound =
        rows.integer(4) == key_checksum(rows.bytes(0), rows.bytes(1), rows.bytes(2), rows.integer(3));
    if (sound) {
      keys.push_back({std::string(rows.bytes(0)), std::string(rows.bytes(1)), std::string(rows.bytes(2)),
                      rows.integer(3)});
    } else {
      spdlog::warn("sessions: an Idempotency-Key is lost: {} is damaged", impl_->database.file().string());
    }
  }
  return keys;
}

void SessionStore::sync() {
  if (impl_->changing) throw std::logic_error("sync() of the session store within a change");
  impl_->database.sync_log();
  impl_->database.empty_log();
}

std::int64_t SessionStore::bytes() {
  const std::int64_t free =
      impl_->database.number("PRAGMA freelist_count") * impl_->database.number("PRAGMA page_size");
  return size_of(impl_->directory.database_file()) + size_of(impl_->directory.log_file()) - free;
}

}  // namespace sinkstream
