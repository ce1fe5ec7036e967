// What becomes of a damaged database: SQLite works on in one whose pages do not fit together, and makes it
// worse.
#pragma once

#include "coordinator/store/database.h"
#include "coordinator/store/session_store.h"
#include "coordinator/store/store_directory.h"

namespace sinkstream {

// Opens the directory's database. One that is damaged is made anew of what is sound in it, and kept beside.
// Costs as much as reading it. Throws StartupError (ExitCode::config) and StoreFailure.
Database open_sound(const StoreDirectory& directory, const StoreSettings& settings);

}  // namespace sinkstream
