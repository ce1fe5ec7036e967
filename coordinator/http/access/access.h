// The one gate that every request passes before its endpoint.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/access/cross_origin.h"
#include "coordinator/http/message/message.h"
#include "coordinator/http/server_settings.h"

namespace sinkstream {

// The key that a request brings; empty: none.
std::string_view api_key_of(const Request& request);

class AccessGate {
 public:
  // Loads the keys. Throws StartupError (ExitCode::config): a key file that cannot be read or holds no key,
  // or an address beyond loopback without keys and without `insecure`.
  AccessGate(const ServerSettings& settings, const std::string& listen_host, bool loopback);

  // Throws RequestError: 401 without a good key (unless the route is open, or a browser asks beforehand), 403
  // for a foreign host or origin.
  //
  // Host and Origin count where no key is asked for and only loopback listens: there a web page that the user
  // merely visits could otherwise reach this server, by a name of its own that resolves to 127.0.0.1.
  void check(const Request& request, bool open_route) const;

  const CrossOriginPolicy& cross_origin() const { return cross_origin_; }
  // Any page that a user visits could use this server.
  bool open_to_all_pages() const { return keys_.empty() && cross_origin_.any_allowed(); }

 private:
  void check_key(const Request& request) const;
  void check_origin(const Request& request) const;
  bool is_own_host(std::string_view host) const;

  std::vector<std::string> keys_;
  CrossOriginPolicy cross_origin_;
  std::vector<std::string> allowed_hosts_;
  std::string listen_host_;
  bool loopback_;
};

}  // namespace sinkstream
