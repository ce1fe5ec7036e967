#include "base/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

namespace sinkstream {
namespace {

// The name of the logger whose messages are members already.
constexpr const char* kMembersLogger = "sinkstream.members";

class JsonFormatter : public spdlog::formatter {
 public:
  explicit JsonFormatter(int rank) : rank_(rank) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string_view payload(message.payload.data(), message.payload.size());
    const std::string_view logger(message.logger_name.data(), message.logger_name.size());
    const std::string line =
        json_log_line(message.time, message.level, rank_,
                      logger == kMembersLogger ? std::string(payload) : message_member(payload)) +
        "\n";
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(rank_); }

 private:
  int rank_;
};

std::shared_ptr<spdlog::logger> members_logger;  // set where lines are JSON

std::shared_ptr<spdlog::logger> make_logger(const char* name, const spdlog::sink_ptr& sink,
                                            spdlog::level::level_enum level) {
  auto logger = std::make_shared<spdlog::logger>(name, sink);
  logger->set_level(level);
  logger->flush_on(spdlog::level::debug);
  return logger;
}

}  // namespace

void set_up_log(const LogSettings& settings, int rank) {
  const bool json = settings.format == "json";
  auto level = spdlog::level::from_str(settings.level);
  if (rank != 0) level = std::max(level, spdlog::level::warn);
  const auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  const std::string shown_rank = rank == 0 ? "" : "[rank " + std::to_string(rank) + "] ";
  if (json) {
    sink->set_formatter(std::make_unique<JsonFormatter>(rank));
  } else {
    sink->set_pattern("[%Y-%m-%d %H:%M:%S.%e] [%l] " + shown_rank + "%v");
  }
  members_logger = json ? make_logger(kMembersLogger, sink, level) : nullptr;
  spdlog::set_default_logger(make_logger("sinkstream", sink, level));
}

bool log_is_json() {
  return members_logger != nullptr;
}

void log_line(spdlog::level::level_enum level, const LogLine& line) {
  if (members_logger) {
    members_logger->log(level, spdlog::string_view_t(line.members.data(), line.members.size()));
  } else {
    spdlog::log(level, "{}", line.text);
  }
}

std::string json_log_line(spdlog::log_clock::time_point time, spdlog::level::level_enum level, int rank,
                          std::string_view members) {
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = milliseconds / 1000;
  const auto name = spdlog::level::to_string_view(level);
  return fmt::format(R"({{"time":"{:%Y-%m-%dT%H:%M:%S}.{:03}Z","level":"{}","rank":{},{}}})",
                     fmt::gmtime(seconds), milliseconds % 1000, std::string_view(name.data(), name.size()),
                     rank, members);
}

std::string message_member(std::string_view message) {
  return "\"message\":" +
         nlohmann::json(std::string(message)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace sinkstream
