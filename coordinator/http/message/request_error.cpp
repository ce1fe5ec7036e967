#include "coordinator/http/message/request_error.h"

#include <nlohmann/json.hpp>

namespace sinkstream {
namespace {

constexpr const char* kBusyRetrySeconds = "2";
constexpr const char* kUnavailableRetrySeconds = "5";

nlohmann::ordered_json string_or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
}

}  // namespace

RequestError bad_request(const std::string& message, std::string param, std::string code) {
  return {400, "invalid_request_error", std::move(code), message, std::move(param)};
}

RequestError protocol_error(int status, const std::string& message, std::string code) {
  return {status, "invalid_request_error", std::move(code), message};
}

RequestError conflict(std::string code, const std::string& message, std::string param) {
  RequestError error{409, "conflict_error", std::move(code), message, std::move(param)};
  error.headers.push_back({"x-should-retry", "false"});
  return error;
}

RequestError too_busy(const std::string& message) {
  RequestError error{429, "rate_limit_error", "rate_limit_exceeded", message};
  error.headers.push_back({"Retry-After", kBusyRetrySeconds});
  return error;
}

RequestError unavailable(const std::string& message) {
  RequestError error{503, "unavailable_error", "unavailable", message};
  error.headers.push_back({"Retry-After", kUnavailableRetrySeconds});
  return error;
}

RequestError internal_error() {
  return {500, "server_error", "internal_error", "The server made a mistake; its log has the request id."};
}

std::string error_body(const RequestError& error) {
  nlohmann::ordered_json fields = {{"message", error.what()},
                                   {"type", error.type},
                                   {"param", string_or_null(error.param)},
                                   {"code", string_or_null(error.code)}};
  for (const auto& [name, number] : error.numbers) fields[name] = number;
  const nlohmann::ordered_json body = {{"error", std::move(fields)}};
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Response error_response(const RequestError& error) {
  return {error.status, "application/json", error_body(error), error.headers};
}

}  // namespace sinkstream
