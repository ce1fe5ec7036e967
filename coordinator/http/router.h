// Which endpoint answers a method and a path.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/exchange.h"

namespace sinkstream {

using Handler = std::function<void(const std::shared_ptr<Exchange>&)>;  // may throw RequestError

struct Route {
  std::string method;  // GET also answers HEAD
  std::string path;    // ends with "/*": anything below; ":id" is one segment
  Handler handler;
  bool open = false;     // needs no API key
  bool offload = false;  // takes a JSON body and runs off the I/O thread
  bool probe = false;    // asked every few seconds by a machine: no line in the log
};

// What it throws is the exchange's answer, and never ends the process.
void run_handler(const Handler& handler, const std::shared_ptr<Exchange>& exchange);

class Router {
 public:
  void add(Route route);

  const std::vector<Route>& routes() const { return routes_; }

  struct Match {
    const Route* route = nullptr;    // nullptr: none for this method
    const Route* on_path = nullptr;  // of any method; nullptr: no such path
    std::string allow;               // the path's methods; empty: no such path
  };
  Match find(std::string_view method, std::string_view path) const;
  std::string allow_of_all() const;  // the methods of all paths together

 private:
  std::vector<Route> routes_;
};

}  // namespace sinkstream
