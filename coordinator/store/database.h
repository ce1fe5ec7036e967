// SQLite, as far as the store needs it: a connection, statements that are kept, failures with a message.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "coordinator/store/store_failure.h"

namespace sinkstream {

// One thread at a time. Everything throws StoreFailure.
class Database {
 public:
  explicit Database(const std::filesystem::path& file);  // opens it, or makes it

  void execute(const char* sql);           // statements without results
  std::int64_t number(const char* query);  // the one number that it answers
  std::string text(const char* query);     // the one text; empty: none
  bool in_transaction() const;             // SQLite ends one by itself when the disk is full
  void sync_log();  // what was committed is on the disk when it returns, whoever else reads the file
  // The log's pages go into the file as far as nobody reads older ones; then the log begins anew.
  void empty_log();
  [[noreturn]] void fail(int code) const;  // with SQLite's words for its last error

  sqlite3* handle() const { return handle_.get(); }
  const std::filesystem::path& file() const { return file_; }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  int system_error(int code) const;
  sqlite3_file* log_handle() const;

  std::filesystem::path file_;
  std::unique_ptr<sqlite3, Close> handle_;
};

// A statement that is under way. Its end resets it, also after a failure.
class Query {
 public:
  Query(const Database& database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  bool next();  // false: there are no more rows
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string_view bytes(int column) const;  // valid until the next row
  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  const Database& database_;
  sqlite3_stmt* statement_;
};

// Bound as a blob. A std::string_view is bound as text.
struct Blob {
  std::string_view bytes;
};

class Statement {
 public:
  Statement(Database& database, const char* sql);

  // Binds ?1, ?2, ... What is bound must live as long as the query.
  template <typename... Values>
  Query query(const Values&... values) {
    int index = 0;
    (bind(++index, values), ...);
    return Query(database_, statement_.get());
  }
  template <typename... Values>
  void run(const Values&... values) {
    Query under_way = query(values...);
    while (under_way.next()) {
    }
  }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  void bind(int index, std::int64_t value);
  void bind(int index, std::string_view text);
  void bind(int index, Blob blob);

  Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

}  // namespace sinkstream
