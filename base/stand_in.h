// What tools leave where a model's file should be: pointers to it, error pages, half a download.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace sinkstream {

// Throws StartupError (ExitCode::model) that says what `content` is and what to do, where it is a known
// stand-in for the file rather than the file. A template or JSON is read whole; of a large file its beginning
// is enough.
void refuse_stand_in(std::string_view content, const std::filesystem::path& file);

// "not valid JSON: ..." for a parser's message, which for half a file says that it is half a file.
std::string json_complaint(const std::string& parser_message);

}  // namespace sinkstream
