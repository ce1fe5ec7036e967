#include "coordinator/store/salvage.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <string>

#include "coordinator/store/row_checksum.h"
#include "coordinator/store/session_index.h"
#include "coordinator/store/store_format.h"
#include "coordinator/store/token_rows.h"

namespace sinkstream {

namespace {

// Empty: none. Rows are checked when they are read; this is about what holds them together.
std::string damage_of(Database& database) {
  try {
    const std::string found = database.text("PRAGMA quick_check(1)");
    return found == "ok" ? "" : found;
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
    return failure.what();
  }
}

class Salvage {
 public:
  Salvage(Database& from, Database& to) : from_(from), to_(to) {}

  void run() {
    to_.execute("BEGIN IMMEDIATE");
    put_salt(to_, salt_of(from_));
    for (const std::string& id : index_.ids()) {
      copy_head(id);
      copy_tokens(id);
    }
    if (has_answers(from_)) copy_answers();
    copy_keys();
    to_.execute("COMMIT");
    to_.empty_log();
  }

 private:
  void copy_head(const std::string& id);
  void copy_tokens(const std::string& id);
  std::int64_t copy_part(const RowOwner& owner, std::int64_t begin, std::int64_t end);
  void copy_answers();
  void copy_keys();
  template <typename Copy>
  void copy_rows(const char* select, const char* lost, const Copy& copy);

  Database& from_;
  Database& to_;
  SessionIndex index_{from_};
  TokenRows rows_{from_};
  TokenRows new_rows_{to_};
  Statement head_{from_, "SELECT head, last_used_at, crc FROM sessions WHERE session = ?1"};
  Statement new_head_{to_, "INSERT INTO sessions VALUES(?1, ?2, ?3, ?4, ?5)"};
  Statement new_extent_{to_, "INSERT INTO extents VALUES(?1, ?2, ?3, ?4, ?5)"};
};

// As it stands there: what is not sound is found when it is read.
void Salvage::copy_head(const std::string& id) {
  const std::int64_t number = index_.at(id).number;
  try {
    Query row = head_.query(number);
    if (row.next()) {
      new_head_.run(number, std::string_view(id), Blob{row.bytes(0)}, row.integer(1), row.integer(2));
      return;
    }
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
  }
  constexpr std::int64_t kLatest = std::numeric_limits<std::int64_t>::max();
  new_head_.run(number, std::string_view(id), Blob{""}, kLatest, ~head_checksum(id, "", kLatest));
}

void Salvage::copy_tokens(const std::string& id) {
  const auto& [number, old_extent, extent_sound] = index_.at(id);
  const RowOwner owner{number, id};
  Extent extent = old_extent;
  bool sound = extent_sound;
  std::int64_t end = copy_part(owner, 0, extent.pruned_begin);
  if (end < extent.pruned_begin) {
    extent = {.end = end};
    sound = false;
  } else {
    end = copy_part(owner, extent.pruned_end, extent.end);
    sound = sound && end == extent.end;
    extent.end = end;
  }
  // A wrong checksum keeps it known that there was more.
  const std::int64_t crc = extent_checksum(id, extent);
  new_extent_.run(number, extent.end, extent.pruned_begin, extent.pruned_end, sound ? crc : ~crc);
}

// Returns how far it is sound.
std::int64_t Salvage::copy_part(const RowOwner& owner, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kAtOnce = 64 * TokenRows::kMostTokens;
  const std::int64_t lowest = begin;
  while (begin < end) {
    const StoredTokens read = rows_.read(owner, lowest, begin, std::min(end, begin + kAtOnce));
    new_rows_.append(owner, begin, read.tokens);
    begin += static_cast<std::int64_t>(read.tokens.size());
    if (read.damaged_from) return begin;
  }
  return end;
}

// As they stand there: what is not sound is found when they are read.
template <typename Copy>
void Salvage::copy_rows(const char* select, const char* lost, const Copy& copy) {
  try {
    Statement statement(from_, select);
    Query rows = statement.query();
    while (rows.next()) copy(rows);
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
    spdlog::warn("sessions: {}: the file is damaged", lost);
  }
}

void Salvage::copy_answers() {
  Statement insert(to_, "INSERT OR REPLACE INTO answers VALUES(?1, ?2, ?3, ?4)");
  copy_rows(
      "SELECT session, first, last, crc FROM answers", "where some answers stand is lost",
      [&](const Query& row) { insert.run(row.integer(0), row.integer(1), row.integer(2), row.integer(3)); });
}

void Salvage::copy_keys() {
  Statement insert(to_, "INSERT OR REPLACE INTO keys VALUES(?1, ?2, ?3, ?4, ?5)");
  copy_rows("SELECT owner, key, what, expires_at, crc FROM keys", "Idempotency-Keys are lost",
            [&](const Query& row) {
              insert.run(row.bytes(0), row.bytes(1), Blob{row.bytes(2)}, row.integer(3), row.integer(4));
            });
}

}  // namespace

Database open_sound(const StoreDirectory& directory, const StoreSettings& settings) {
  const auto open = [&settings](const std::filesystem::path& file) {
    Database database(file);
    open_format(database, settings.sync_each_write, settings.model, settings.model_name);
    return database;
  };
  {
    Database database = open(directory.database_file());
    const std::string damage = damage_of(database);
    if (damage.empty()) {
      upgrade_format(database);
      return database;
    }
    spdlog::warn(
        "sessions: {} is damaged: {}; what is sound of it goes into a new one, and {} keeps the old one",
        directory.database_file().string(), damage, directory.kept_file().string());
    Database sound = open(directory.make_new_file());
    Salvage(database, sound).run();
  }  // each goes into its one file
  directory.replace_database();
  return open(directory.database_file());
}

}  // namespace sinkstream
