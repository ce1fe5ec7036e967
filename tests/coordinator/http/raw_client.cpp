#include "tests/coordinator/http/raw_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "tests/patience.h"

namespace sinkstream::testing {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

void parse_head(RawResponse& response) {
  const std::string& head = response.raw_head;
  response.status = std::stoi(head.substr(9, 3));
  std::size_t begin = head.find("\r\n") + 2;
  while (begin < head.size()) {
    const std::size_t end = head.find("\r\n", begin);
    const std::string line = head.substr(begin, end - begin);
    begin = end + 2;
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) break;
    response.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
  }
}

}  // namespace

RawClient::RawClient(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  sockaddr_in target = {};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &target.sin_addr);
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit = {kPatience.count(), 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
    throw std::runtime_error("cannot connect to " + address);
  }
}

RawClient::~RawClient() {
  close();
}

void RawClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void RawClient::half_close() {
  ::shutdown(socket_, SHUT_WR);
}

void RawClient::shrink_receive_buffer() {
  const int bytes = 4096;
  setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool RawClient::fill() {
  char bytes[65536];
  const ssize_t received = ::recv(socket_, bytes, sizeof bytes, 0);
  if (received <= 0) return false;
  buffer_.append(bytes, static_cast<std::size_t>(received));
  return true;
}

bool RawClient::receive_until(std::string_view text) {
  for (std::size_t searched = 0; buffer_.find(text, searched) == std::string::npos;) {
    searched = buffer_.size() < text.size() ? 0 : buffer_.size() - text.size();
    if (!fill()) return false;
  }
  return true;
}

bool RawClient::at_end() {
  char byte = 0;
  const bool ended = buffer_.empty() && ::recv(socket_, &byte, 1, 0) == 0;
  return ended;
}

RawResponse RawClient::receive(bool head_only) {
  RawResponse response = receive_final(head_only);
  while (response.status == 100) response = receive_final(head_only);
  return response;
}

RawResponse RawClient::receive_final(bool head_only) {
  RawResponse response;
  if (!receive_until("\r\n\r\n")) return response;
  const std::size_t head_bytes = buffer_.find("\r\n\r\n") + 4;
  response.raw_head = buffer_.substr(0, head_bytes);
  buffer_.erase(0, head_bytes);
  parse_head(response);
  if (head_only || response.status == 204 || response.status == 304 || response.status == 100) {
    response.complete = true;
  } else if (response.headers.contains("content-length")) {
    const std::size_t length = std::stoul(response.headers["content-length"]);
    while (buffer_.size() < length && fill()) {
    }
    response.complete = buffer_.size() >= length;
    response.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
  } else if (response.headers.contains("transfer-encoding")) {
    receive_chunks(response);
  } else {
    while (fill()) {
    }
    response.body = std::exchange(buffer_, {});
  }
  return response;
}

void RawClient::receive_chunks(RawResponse& response) {
  for (;;) {
    if (!receive_until("\r\n")) return;
    const std::size_t line = buffer_.find("\r\n");
    const std::size_t length = std::stoul(buffer_.substr(0, line), nullptr, 16);
    while (buffer_.size() < line + 2 + length + 2) {
      if (!fill()) return;
    }
    response.body += buffer_.substr(line + 2, length);
    buffer_.erase(0, line + 2 + length + 2);
    if (length == 0) {
      response.complete = true;
      return;
    }
  }
}

std::string get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

std::string post(std::string_view path, std::string_view body, std::string_view more_headers) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
         std::string(more_headers) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

RawResponse ask_once(const std::string& address, std::string_view request) {
  RawClient client(address);
  client.send(request);
  return client.receive(request.starts_with("HEAD "));
}

std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> events;
  for (std::size_t begin = 0; begin < body.size();) {
    const std::size_t end = body.find("\n\n", begin);
    if (end == std::string::npos) {
      ADD_FAILURE() << "an event without its empty line: " << body.substr(begin);
      break;
    }
    const std::string event = body.substr(begin, end - begin);
    begin = end + 2;
    if (event == ": ping") continue;
    EXPECT_TRUE(event.starts_with("data: ") && event.find('\n') == std::string::npos) << event;
    events.push_back(event.substr(6));
  }
  return events;
}

}  // namespace sinkstream::testing
