// Another program that answers each line with a line.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace sinkstream::bench {

class Peer {
 public:
  // Throws std::runtime_error when it cannot be started.
  explicit Peer(const std::vector<std::string>& command);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // Throws std::runtime_error when it ends instead of answering.
  std::string ask(const std::string& line);

 private:
  pid_t process_;
  std::FILE* in_;
  std::FILE* out_;
};

}  // namespace sinkstream::bench
