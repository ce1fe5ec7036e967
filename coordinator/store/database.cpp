#include "coordinator/store/database.h"

#include <spdlog/fmt/fmt.h>

#include <cerrno>
#include <cstring>

namespace sinkstream {

namespace {

constexpr int kWaitForOthersMs = 2000;  // who copies the database away holds it for less

bool is_full(int code, int system_error) {
  return (code & 0xff) == SQLITE_FULL || system_error == ENOSPC || system_error == EDQUOT ||
         system_error == EFBIG;
}

bool is_damage(int code) {
  return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

}  // namespace

Database::Database(const std::filesystem::path& file) : file_(file) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &handle,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  handle_.reset(handle);
  if (code != SQLITE_OK) fail(code);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kWaitForOthersMs);
}

void Database::execute(const char* sql) {
  const int code = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
}

std::int64_t Database::number(const char* query) {
  Statement statement(*this, query);
  Query rows = statement.query();
  return rows.next() ? rows.integer(0) : 0;
}

std::string Database::text(const char* query) {
  Statement statement(*this, query);
  Query rows = statement.query();
  return rows.next() ? std::string(rows.bytes(0)) : std::string();
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(handle_.get()) == 0;
}

void Database::sync_log() {
  sqlite3_file* log = nullptr;
  int code = sqlite3_file_control(handle_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (code != SQLITE_OK) fail(code);
  if (log == nullptr || log->pMethods == nullptr) return;  // nothing was written yet
  code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
  if (code != SQLITE_OK) fail(code);
}

void Database::empty_log() {
  sqlite3_busy_timeout(handle_.get(), 0);
  const int code =
      sqlite3_wal_checkpoint_v2(handle_.get(), "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  sqlite3_busy_timeout(handle_.get(), kWaitForOthersMs);
  if (code != SQLITE_OK && code != SQLITE_BUSY) fail(code);
}

void Database::fail(int code) const {
  if (!handle_) throw StoreFailure(StoreFault::other, file_.string() + ": no memory to open it");
  const int system_error = sqlite3_system_errno(handle_.get());
  const bool full =
      is_full(code, (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_FULL ? system_error : 0);
  const std::string place = file_.string();
  std::string reason = sqlite3_errstr(code);
  if ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN) {
    reason +=
        fmt::format(" ({}, SQLite {})", system_error != 0 ? std::strerror(system_error) : "no reason", code);
  }
  if (full) {
    throw StoreFailure(
        StoreFault::full,
        fmt::format("{}: no room on the disk is left to write sessions: {}; make room", place, reason));
  }
  if (is_damage(code)) {
    throw StoreFailure(
        StoreFault::damaged,
        fmt::format("{}: {}; the file is damaged: look after the disk, and restore a backup if what "
                    "is lost matters",
                    place, reason));
  }
  if ((code & 0xff) == SQLITE_BUSY) {
    throw StoreFailure(StoreFault::other,
                       fmt::format("{}: another program holds the database: end what has it open", place));
  }
  throw StoreFailure(StoreFault::other,
                     fmt::format("{}: {}: {}; look after the disk and the rights to the directory", place,
                                 reason, sqlite3_errmsg(handle_.get())));
}

Query::~Query() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool Query::next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_.fail(code);
  return false;
}

std::string_view Query::bytes(int column) const {
  const void* const begin = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return begin == nullptr ? std::string_view() : std::string_view(static_cast<const char*>(begin), size);
}

Statement::Statement(Database& database, const char* sql) : database_(database) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(database.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  statement_.reset(statement);
  if (code != SQLITE_OK) database.fail(code);
}

void Statement::bind(int index, std::int64_t value) {
  const int code = sqlite3_bind_int64(statement_.get(), index, value);
  if (code != SQLITE_OK) database_.fail(code);
}

void Statement::bind(int index, std::string_view text) {
  // A null pointer would be NULL, which is not an empty text.
  const int code = sqlite3_bind_text64(statement_.get(), index, text.data() != nullptr ? text.data() : "",
                                       text.size(), SQLITE_STATIC, SQLITE_UTF8);
  if (code != SQLITE_OK) database_.fail(code);
}

void Statement::bind(int index, Blob blob) {
  const int code =
      sqlite3_bind_blob64(statement_.get(), index, blob.bytes.data() != nullptr ? blob.bytes.data() : "",
                          blob.bytes.size(), SQLITE_STATIC);
  if (code != SQLITE_OK) database_.fail(code);
}

}  // namespace sinkstream
