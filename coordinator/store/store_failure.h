// What can go wrong with sessions on the disk.
#pragma once

#include <stdexcept>
#include <string>

namespace sinkstream {

enum class StoreFault {
  full,     // no room: the message says so; it goes on once there is some
  damaged,  // what is stored is not what was written
  other,    // I/O errors, somebody else's lock
};

// The message says what, where, and what to do.
class StoreFailure : public std::runtime_error {
 public:
  StoreFailure(StoreFault fault, const std::string& message) : std::runtime_error(message), fault_(fault) {}
  StoreFault fault() const { return fault_; }

 private:
  StoreFault fault_;
};

}  // namespace sinkstream
