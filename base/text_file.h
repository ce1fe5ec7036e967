// Small text files that we did not write.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace sinkstream {

// The whole file, or nothing where there is none. Throws StartupError (ExitCode::model) naming it for what is
// no regular file (a directory, a pipe, a link to nothing), cannot be read, is larger than `largest` bytes,
// or is a stand-in for the file (base/stand_in.h).
std::optional<std::string> read_text_file(const std::filesystem::path& file, std::uintmax_t largest);

}  // namespace sinkstream
