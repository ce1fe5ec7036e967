#include "coordinator/store/store_format.h"

#include <spdlog/fmt/fmt.h>

#include <array>
#include <charconv>
#include <optional>
#include <random>

#include "base/error.h"
#include "coordinator/store/row_checksum.h"

namespace sinkstream {

namespace {

// 1 kept API keys as they are, 2 where answers stand in what is known of each session.
constexpr int kVersion = 3;

// Every row has a checksum of all that is in it. Numbers stand for sessions where their ids would be many.
// `extents` says how far a session's tokens go, since rows that are not there have no checksum;
// [pruned_begin, pruned_end) went. In the order of their names, as they are compared.
constexpr std::array kTables = {
    "CREATE TABLE answers(session INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, "
    "crc INTEGER NOT NULL, PRIMARY KEY(session, first)) WITHOUT ROWID",
    "CREATE TABLE extents(session INTEGER PRIMARY KEY, last INTEGER NOT NULL, pruned_begin INTEGER NOT NULL, "
    "pruned_end INTEGER NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE keys(owner TEXT NOT NULL, key TEXT NOT NULL, what BLOB NOT NULL, expires_at INTEGER NOT "
    "NULL, "
    "crc INTEGER NOT NULL, PRIMARY KEY(owner, key)) WITHOUT ROWID",
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE sessions(session INTEGER PRIMARY KEY, id TEXT NOT NULL, head BLOB NOT NULL, "
    "last_used_at INTEGER NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE tokens(session INTEGER NOT NULL, first INTEGER NOT NULL, tokens BLOB NOT NULL, "
    "crc INTEGER NOT NULL, PRIMARY KEY(session, first)) WITHOUT ROWID",
};

[[noreturn]] void refuse(const Database& database, const std::string& problem) {
  throw StartupError(ExitCode::config,
                     fmt::format("sessions.directory: {}: {}", database.file().string(), problem));
}

[[noreturn]] void refuse_damaged(const Database& database, const std::string& what) {
  refuse(
      database,
      fmt::format("{}: the file is damaged, or not one of ours; restore a backup, or move it away to begin "
                  "without sessions",
                  what));
}

void set_up(Database& database, bool sync_each_write) {
  // The log is what makes a small commit cheap. It is in the file system's hands after each commit, so it
  // outlives this process; `synchronous` is about the host.
  if (database.text("PRAGMA journal_mode=WAL") != "wal") {
    refuse(database,
           "this file system cannot share memory between processes, which SQLite's WAL mode needs; take "
           "a local disk");
  }
  database.execute(sync_each_write ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
  database.execute("PRAGMA cell_size_check=ON");
  database.execute("PRAGMA trusted_schema=OFF");
  // Commits empty the log only where nobody calls sync(): that costs milliseconds.
  database.execute("PRAGMA wal_autocheckpoint=4000");
}

void put_meta(Database& database, std::string_view name, std::string_view value) {
  Statement(database, "INSERT INTO meta VALUES(?1, ?2, ?3)")
      .run(name, value, row_checksum("meta", name, value));
}

// 128 bits from the system.
std::string new_salt() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::string meta(Database& database, std::string_view name) {
  Statement statement(database, "SELECT value, crc FROM meta WHERE name = ?1");
  Query rows = statement.query(name);
  if (!rows.next()) refuse_damaged(database, fmt::format("meta has no '{}'", name));
  if (rows.integer(1) != row_checksum("meta", name, rows.bytes(0))) {
    refuse_damaged(database, fmt::format("meta's '{}' has a wrong checksum", name));
  }
  return std::string(rows.bytes(0));
}

void make(Database& database, const std::string& model, const std::string& model_name) {
  database.execute("BEGIN IMMEDIATE");
  for (const char* table : kTables) database.execute(table);
  put_meta(database, "version", std::to_string(kVersion));
  put_meta(database, "model", model);
  put_meta(database, "model_name", model_name);
  put_meta(database, "salt", new_salt());
  database.execute("COMMIT");
  // Into the file: one without tables, but with pages, is then never taken for a new one.
  database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

bool has_meta(Database& database) {
  return database.number("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'") == 1;
}

// Of the format; one that can be used.
int read_version(Database& database) {
  const std::string text = meta(database, "version");
  int version = 0;
  std::from_chars(text.data(), text.data() + text.size(), version);
  if (version > kVersion) {
    refuse(
        database,
        fmt::format("its format has version {}, and this server knows {}: a newer one wrote it; start that "
                    "one again, or name another directory",
                    text, kVersion));
  }
  if (version == 1) {
    refuse(database,
           "its format has version 1, which kept API keys in clear, and this server does not take it over: "
           "move it away to begin without sessions, or name another directory");
  }
  if (version != kVersion && version != 2) refuse_damaged(database, fmt::format("version '{}'", text));
  return version;
}

void check_tables(Database& database, int version) {
  Statement statement(database, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name");
  Query rows = statement.query();
  for (const char* table : kTables) {
    if (version == 2 && table == kTables.front()) continue;
    if (!rows.next() || rows.bytes(0) != table)
      refuse_damaged(database, "its tables are not those of a session store");
  }
  if (rows.next()) refuse_damaged(database, "it has more tables than a session store");
}

void check_model(Database& database, const std::string& model, const std::string& model_name) {
  const std::string stored = meta(database, "model");
  if (stored == model) return;
  refuse(
      database,
      fmt::format("holds sessions of the model '{}' ({}), which mean nothing to '{}' ({}); serve that model "
                  "again, or name another directory",
                  meta(database, "model_name"), stored, model_name, model));
}

}  // namespace

void open_format(Database& database, bool sync_each_write, const std::string& model,
                 const std::string& model_name) {
  set_up(database, sync_each_write);
  // A flipped bit in the file's header can say so too.
  if (sqlite3_db_readonly(database.handle(), "main") != 0) refuse_damaged(database, "it can only be read");
  // Setting the mode writes the first page.
  const bool is_new =
      database.number("SELECT count(*) FROM sqlite_master") == 0 && database.number("PRAGMA page_count") <= 1;
  if (is_new) make(database, model, model_name);
  if (!has_meta(database)) refuse_damaged(database, "it has no table 'meta'");
  check_tables(database, read_version(database));
  check_model(database, model, model_name);
  salt_of(database);
}

bool has_answers(Database& database) {
  return read_version(database) == kVersion;
}

// Version 2 had no answers. Those of its sessions move when each changes.
void upgrade_format(Database& database) {
  if (has_answers(database)) return;
  database.execute("BEGIN IMMEDIATE");
  database.execute(kTables.front());
  database.execute("DELETE FROM meta WHERE name = 'version'");
  put_meta(database, "version", std::to_string(kVersion));
  database.execute("COMMIT");
}

std::string salt_of(Database& database) {
  return meta(database, "salt");
}

void put_salt(Database& database, const std::string& salt) {
  database.execute("DELETE FROM meta WHERE name = 'salt'");
  put_meta(database, "salt", salt);
}

}  // namespace sinkstream
