// Bounds the steps that only the message-passing library can finish and that may never finish.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace sinkstream {

// Ends the process with exit code 5 and the message when it is not destroyed within `limit`. An empty message
// ends it silently (when another rank of this host speaks).
class Deadline {
 public:
  Deadline(std::chrono::milliseconds limit, std::function<std::string()> message);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool met_ = false;
  std::thread thread_;
};

}  // namespace sinkstream
