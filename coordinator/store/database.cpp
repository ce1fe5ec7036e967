#include "coordinator/store/database.h"

#include <spdlog/fmt/fmt.h>

#include <cerrno>
#include <cstring>

namespace sinkstream {

namespace {

constexpr int kWaitForOthersMs = 2000;  // who copies the database away holds it for less

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

sqlite3_file* Database::log_handle() const {
  sqlite3_file* log = nullptr;
  sqlite3_file_control(handle_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  return log != nullptr && log->pMethods != nullptr ? log : nullptr;  // nullptr: nothing was written yet
}

void Database::sync_log() {
  sqlite3_file* const log = log_handle();
  const int code = log == nullptr ? SQLITE_OK : log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
  if (code != SQLITE_OK) fail(code);
}

void Database::empty_log() {
  sqlite3_busy_timeout(handle_.get(), 0);
  const int code =
      sqlite3_wal_checkpoint_v2(handle_.get(), "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  sqlite3_busy_timeout(handle_.get(), kWaitForOthersMs);
  if (code != SQLITE_OK && code != SQLITE_BUSY) fail(code);
}

// Of the last call to the system that failed; SQLite does not always pass it on.
int Database::system_error(int code) const {
  if ((code & 0xff) != SQLITE_IOERR && (code & 0xff) != SQLITE_CANTOPEN) return 0;
  int error = sqlite3_system_errno(handle_.get());
  const bool writes =
      code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_TRUNCATE;
  if (error == 0 && writes) {
    sqlite3_file* const log = log_handle();
    if (log != nullptr) log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
    if (error == 0) sqlite3_file_control(handle_.get(), "main", SQLITE_FCNTL_LAST_ERRNO, &error);
  }
  return error;
}

void Database::fail(int code) const {
  if (!handle_) throw StoreFailure(StoreFault::other, file_.string() + ": no memory to open it");
  const int error = system_error(code);
  std::string what = fmt::format("{}: {}", file_.string(), sqlite3_errstr(code));
  if (error != 0) what += fmt::format(" ({})", std::strerror(error));
  if ((code & 0xff) == SQLITE_FULL || error == ENOSPC || error == EDQUOT || error == EFBIG) {
    throw StoreFailure(StoreFault::full,
                       what + ": there is no room on the disk to write sessions; make some");
  }
  if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB) {
    throw StoreFailure(StoreFault::damaged,
                       what +
                           ": the file is damaged; look after the disk, and restore a backup if "
                           "what is lost matters");
  }
  if ((code & 0xff) == SQLITE_BUSY) {
    throw StoreFailure(StoreFault::other, what + ": another program holds the database; end it");
  }
  throw StoreFailure(StoreFault::other,
                     fmt::format("{}: {}; look after the disk and the rights to the directory", what,
                                 sqlite3_errmsg(handle_.get())));
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
