// Which pages of other origins may read this server's answers (CORS, the Fetch standard).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/message/message.h"

namespace sinkstream {

// "https://Chat.Example:443" as browsers send it: "https://chat.example". nullopt: no origin.
std::optional<std::string> normal_origin(std::string_view text);

// OPTIONS by which a browser asks beforehand; it never carries a key.
bool is_preflight(const Request& request);

class CrossOriginPolicy {
 public:
  // Items as of server.allowed_origins, checked.
  explicit CrossOriginPolicy(const std::vector<std::string>& allowed_origins);

  bool any_allowed() const { return any_; }
  bool allows(std::string_view origin) const;

  // What every answer to the request carries.
  std::vector<Header> answer_headers(const Request& request) const;
  // To a preflight. `allow` are the methods of the path.
  Response preflight_answer(const Request& request, const std::string& allow) const;

 private:
  std::vector<std::string> origins_;  // normal
  bool any_ = false;
};

}  // namespace sinkstream
