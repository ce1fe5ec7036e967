#include "parallel/watch/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace sinkstream::watch {
namespace {

constexpr std::size_t kMaxUnsent = 64 * 1024;
constexpr int kMaxReadsAtOnce = 16;

}  // namespace

Connection::Connection(FileDescriptor fd) : fd_(std::move(fd)) {
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void Connection::send(const Frame& frame) {
  if (!open_ || unsent_.size() > kMaxUnsent) return;
  unsent_ += encode(frame);
  flush();
}

// A failed send says nothing yet: what the other side said last may still wait to be read.
void Connection::flush() {
  while (!unsent_.empty()) {
    const ssize_t sent = ::send(fd_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (sent < 0) unsent_.clear();
    if (sent > 0) unsent_.erase(0, static_cast<std::size_t>(sent));
  }
}

std::vector<Frame> Connection::receive() {
  for (int reads = 0; reads < kMaxReadsAtOnce && read_some(); ++reads) {
  }
  std::vector<Frame> frames;
  while (auto frame = reader_.next()) frames.push_back(std::move(*frame));
  if (reader_.broken()) open_ = false;
  return frames;
}

std::optional<Frame> Connection::receive_one(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    if (auto frame = reader_.next()) return frame;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (!open_ || reader_.broken() || left.count() <= 0) return std::nullopt;
    pollfd wait{fd_.get(), POLLIN, 0};
    ::poll(&wait, 1, static_cast<int>(left.count()));
    read_some();
  }
}

bool Connection::read_some() {
  if (!open_) return false;
  std::array<char, 4096> bytes{};
  const ssize_t received = ::recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (received > 0) {
    reader_.append({bytes.data(), static_cast<std::size_t>(received)});
    return true;
  }
  const bool nothing_yet = received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
  if (!nothing_yet) open_ = false;
  return false;
}

void Connection::shut_down() {
  ::shutdown(fd_.get(), SHUT_WR);
}

}  // namespace sinkstream::watch
