// What tests of the store share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/store/session_store.h"

namespace sinkstream {

// Where there is no disk that a sync waits for, if there is such a place.
std::filesystem::path quick_place();

StoreSettings settings(const std::filesystem::path& directory);
std::filesystem::path database_file(const std::filesystem::path& directory);
std::filesystem::path log_file(const std::filesystem::path& directory);
void copy_files(const std::filesystem::path& from, const std::filesystem::path& to);

// Tokens of the positions [from, to): each position has its own.
std::vector<TokenId> some_tokens(std::int64_t from, std::int64_t to);

// By a connection of their own.
std::int64_t number_in(const std::filesystem::path& database, const std::string& query);
void execute_in(const std::filesystem::path& database, const std::string& sql);
void make_version_2(const std::filesystem::path& database);  // of the format, which had no answers
void back_up(const std::filesystem::path& database, const std::filesystem::path& copy);

}  // namespace sinkstream
