// SQLite's write-ahead log, as far as its damage is to be told: SQLite takes what comes before it and says
// nothing.
#pragma once

#include <filesystem>
#include <string>

namespace sinkstream {

// What is wrong with a log that no process has open. Empty: nothing, or it ends in the middle of a commit, as
// it may when a process is killed. Formats: sqlite.org/fileformat2.html#walformat.
std::string damage_of_log(const std::filesystem::path& file);

}  // namespace sinkstream
