// What the database looks like: its tables and its version.
#pragma once

#include <string>

#include "coordinator/store/database.h"

namespace sinkstream {

// Sets up the connection; makes the tables where there are none. `model` is a fingerprint. Throws
// StartupError (ExitCode::config): another model's sessions, a newer version, tables that are not ours;
// StoreFailure.
void open_format(Database& database, bool sync_each_write, const std::string& model,
                 const std::string& model_name);

// Of its own, chosen when it is made: what was hashed with it is known again as long as the database is
// there.
std::string salt_of(Database& database);
void put_salt(Database& database, const std::string& salt);

}  // namespace sinkstream
