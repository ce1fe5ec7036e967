#include "coordinator/http/access/access_log.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace sinkstream {
namespace {

// Everything quoted here is visible ASCII.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string text_line(const AnsweredRequest& request, double milliseconds) {
  std::string tokens;
  if (request.tokens)
    tokens = fmt::format(" {}+{} tokens", request.tokens->prompt, request.tokens->completion);
  return fmt::format("{} {} {} {} {:.1f} ms{} {} bytes {}", request.client, request.method, request.path,
                     request.status, milliseconds, tokens, request.bytes, request.id);
}

std::string json_members(const AnsweredRequest& request, double milliseconds) {
  std::string tokens;
  if (request.tokens) {
    tokens = fmt::format(R"("prompt_tokens":{},"completion_tokens":{},)", request.tokens->prompt,
                         request.tokens->completion);
  }
  return fmt::format(
      R"("message":"request","client":"{}","method":"{}","path":"{}","status":{},"ms":{:.1f},{}"bytes":{},"request_id":"{}")",
      request.client, escaped(request.method), escaped(request.path), request.status, milliseconds, tokens,
      request.bytes, escaped(request.id));
}

}  // namespace

LogLine access_line(const AnsweredRequest& request) {
  const double milliseconds = request.seconds * 1000;
  if (log_is_json()) return {"", json_members(request, milliseconds)};
  return {text_line(request, milliseconds), ""};
}

void log_access(const AnsweredRequest& request) {
  const auto level = request.probe ? spdlog::level::debug : spdlog::level::info;
  if (spdlog::should_log(level)) log_line(level, access_line(request));
}

}  // namespace sinkstream
