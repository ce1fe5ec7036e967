#include "tests/coordinator/store/store_testing.h"

#include <unistd.h>

#include <stdexcept>

#include "coordinator/store/database.h"
#include "coordinator/store/row_checksum.h"

namespace sinkstream {

std::filesystem::path quick_place() {
  const std::filesystem::path memory = "/dev/shm";
  return ::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
}

StoreSettings settings(const std::filesystem::path& directory) {
  return {.directory = directory, .model = "0123abcd", .model_name = "demo"};
}

std::filesystem::path database_file(const std::filesystem::path& directory) {
  return directory / "sessions.db";
}

std::filesystem::path log_file(const std::filesystem::path& directory) {
  return directory / "sessions.db-wal";
}

void copy_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    std::filesystem::copy_file(entry.path(), to / entry.path().filename());
  }
}

std::vector<TokenId> some_tokens(std::int64_t from, std::int64_t to) {
  std::vector<TokenId> tokens;
  for (std::int64_t position = from; position < to; ++position) {
    tokens.push_back(static_cast<TokenId>(position * 2'654'435'761 % 128'256));
  }
  return tokens;
}

std::int64_t number_in(const std::filesystem::path& database, const std::string& query) {
  return Database(database).number(query.c_str());
}

void execute_in(const std::filesystem::path& database, const std::string& sql) {
  Database(database).execute(sql.c_str());
}

void make_version_2(const std::filesystem::path& database) {
  const std::int64_t crc = row_checksum("meta", std::string_view("version"), std::string_view("2"));
  execute_in(database, "DROP TABLE answers");
  execute_in(database,
             "UPDATE meta SET value = '2', crc = " + std::to_string(crc) + " WHERE name = 'version'");
}

void back_up(const std::filesystem::path& database, const std::filesystem::path& copy) {
  Database from(database);
  Database to(copy);
  sqlite3_backup* backup = sqlite3_backup_init(to.handle(), "main", from.handle(), "main");
  sqlite3_backup_step(backup, -1);
  if (sqlite3_backup_finish(backup) != SQLITE_OK)
    throw std::runtime_error("no backup of " + database.string());
}

}  // namespace sinkstream
