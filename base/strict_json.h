// JSON from files that we did not write. Everything that reads such files goes through here.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace sinkstream {

// Refuses what parsers otherwise let pass: a key given twice, nesting deeper than any real file has, bytes
// that are not UTF-8, a NUL with more behind it. Throws StartupError (ExitCode::model); its message begins
// with `file`.
nlohmann::json parse_strict_json(std::string_view text, const std::string& file);

// Text from such a file in a form fit for messages: no control characters, not longer than a line.
std::string printable(std::string_view text);
std::string in_quotes(std::string_view text);

}  // namespace sinkstream
