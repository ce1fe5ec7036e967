// How the ranks' watchdogs find the leader's.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "parallel/watch/connection.h"
#include "parallel/watch/frames.h"

namespace sinkstream::watch {

// Where the leader's watchdog listens, and the secret that proves a connection to come from the group.
struct Rendezvous {
  Token token{};
  std::uint16_t port = 0;
  std::vector<std::string> addresses;  // IPv4, to be tried in turn
};

// Pure. decode throws std::runtime_error on anything else than what encode made.
std::string encode(const Rendezvous& place);
Rendezvous decode_rendezvous(const std::string& bytes);

Token random_token();

// Listens on a free port: of the loopback only, or of every address. Throws std::system_error.
FileDescriptor listen(bool loopback_only);
std::uint16_t port_of(const FileDescriptor& listener);
// This host's addresses, those that other hosts can reach first.
std::vector<std::string> own_addresses();

// Nothing where no connection is waiting.
FileDescriptor accept(const FileDescriptor& listener);

// Connects and is welcomed as `rank`. Throws std::runtime_error that says what was tried.
Connection join(const Rendezvous& place, int rank, std::chrono::milliseconds limit);

}  // namespace sinkstream::watch
