// A non-blocking TCP connection that carries frames.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "parallel/watch/frames.h"

namespace sinkstream::watch {

class Connection {
 public:
  explicit Connection(FileDescriptor fd);

  int fd() const { return fd_.get(); }
  bool wants_to_write() const { return !unsent_.empty(); }
  // False once the other side has closed or sent something that is not a frame. Frames that came before still
  // count.
  bool open() const { return open_; }

  // Sends as much as goes at once and keeps the rest for flush(). A peer that takes nothing in for long
  // misses frames instead of filling our memory.
  void send(const Frame& frame);
  void flush();

  // What has come and not been read yet (of a flood, only a part).
  std::vector<Frame> receive();

  // Waits for one frame.
  std::optional<Frame> receive_one(std::chrono::milliseconds limit);

  // Tells the other side that nothing more comes.
  void shut_down();

 private:
  bool read_some();

  FileDescriptor fd_;
  FrameReader reader_;
  std::string unsent_;
  bool open_ = true;
};

}  // namespace sinkstream::watch
