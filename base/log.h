// The process's log, on stderr: lines of text, or each a JSON object.
#pragma once

#include <spdlog/common.h>

#include <string>
#include <string_view>

namespace sinkstream {

struct LogSettings {
  std::string level = "info";   // debug, info, warn, error
  std::string format = "text";  // or json
};

// Becomes spdlog's default logger; may be called again. Of ranks but the leader (0) only warnings and errors
// are written.
void set_up_log(const LogSettings& settings, int rank);

// A line with fields of its own. As JSON its object gets `members` (`"name":value,...`), else it is `text`.
struct LogLine {
  std::string text;
  std::string members;
};
bool log_is_json();
void log_line(spdlog::level::level_enum level, const LogLine& line);

// One line as written in the format json, without its end; for tests. `members` as above.
std::string json_log_line(spdlog::log_clock::time_point time, spdlog::level::level_enum level, int rank,
                          std::string_view members);
// `"message":"..."`
std::string message_member(std::string_view message);

}  // namespace sinkstream
