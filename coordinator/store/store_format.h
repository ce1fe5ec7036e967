// What the database looks like: its tables and its version.
#pragma once

#include <string>

#include "coordinator/store/database.h"

namespace sinkstream {

// Sets up the connection; makes the tables where there are none. `model` is a fingerprint. Throws
// StartupError (ExitCode::config): another model's sessions, a newer version, tables that are not ours;
// StoreFailure. One of an earlier version stays as it is.
void open_format(Database& database, bool sync_each_write, const std::string& model,
                 const std::string& model_name);

// To the version that this server writes, if it isn't; of a sound one.
void upgrade_format(Database& database);
// `answers` are not in all versions.
bool has_answers(Database& database);

// Of its own, chosen when it is made: what was hashed with it is known again as long as the database is
// there.
std::string salt_of(Database& database);
void put_salt(Database& database, const std::string& salt);

}  // namespace sinkstream
