#include "parallel/watch/frames.h"

#include <algorithm>
#include <concepts>
#include <type_traits>

namespace sinkstream::watch {
namespace {

constexpr std::size_t kHeaderBytes = 3;

template <std::unsigned_integral T>
void append_number(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

// Takes values from the front of a payload; `ok` turns false where it is too short.
struct PayloadReader {
  std::string_view rest;
  bool ok = true;

  std::string_view take(std::size_t bytes) {
    ok = ok && rest.size() >= bytes;
    if (!ok) return {};
    const std::string_view taken = rest.substr(0, bytes);
    rest.remove_prefix(bytes);
    return taken;
  }

  template <std::unsigned_integral T>
  T number() {
    T value = 0;
    const std::string_view bytes = take(sizeof(T));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      value = static_cast<T>(value |
                             static_cast<T>(static_cast<T>(static_cast<unsigned char>(bytes[i])) << (8 * i)));
    }
    return value;
  }

  std::string text() { return std::string(take(rest.size())); }
};

std::string payload_of(const Hello& hello) {
  std::string payload(hello.token.begin(), hello.token.end());
  append_number(payload, hello.rank);
  return payload;
}
std::string payload_of(const Welcome&) {
  return {};
}
std::string payload_of(const RankReport& report) {
  std::string payload;
  append_number(payload, static_cast<std::uint8_t>(report.state));
  append_number(payload, report.step);
  append_number(payload, report.progress);
  append_number(payload, report.collectives);
  append_number(payload, report.collective_microseconds);
  append_number(payload, report.starved_milliseconds);
  return payload + report.what;
}
std::string payload_of(const Goodbye&) {
  return {};
}
std::string payload_of(const Drain&) {
  return {};
}
std::string payload_of(const Lost& lost) {
  return lost.message;
}

void read(PayloadReader& payload, Hello& hello) {
  std::ranges::copy(payload.take(hello.token.size()), hello.token.begin());
  hello.rank = payload.number<std::uint32_t>();
}
void read(PayloadReader&, Welcome&) {}
void read(PayloadReader& payload, RankReport& report) {
  const auto state = payload.number<std::uint8_t>();
  payload.ok = payload.ok && state <= static_cast<std::uint8_t>(RankState::waiting);
  report.state = static_cast<RankState>(state);
  report.step = payload.number<std::uint64_t>();
  report.progress = payload.number<std::uint64_t>();
  report.collectives = payload.number<std::uint64_t>();
  report.collective_microseconds = payload.number<std::uint64_t>();
  report.starved_milliseconds = payload.number<std::uint64_t>();
  report.what = payload.text();
}
void read(PayloadReader&, Goodbye&) {}
void read(PayloadReader&, Drain&) {}
void read(PayloadReader& payload, Lost& lost) {
  lost.message = payload.text();
}

// The kind of a frame is its place in the variant.
template <std::size_t Kind = 0>
std::optional<Frame> decode(std::size_t kind, std::string_view bytes) {
  if constexpr (Kind < std::variant_size_v<Frame>) {
    if (kind != Kind) return decode<Kind + 1>(kind, bytes);
    PayloadReader payload{bytes};
    std::variant_alternative_t<Kind, Frame> frame;
    read(payload, frame);
    if (payload.ok && payload.rest.empty()) return frame;
  }
  return std::nullopt;
}

}  // namespace

std::string encode(const Frame& frame) {
  std::string payload = std::visit([](const auto& f) { return payload_of(f); }, frame);
  payload.resize(std::min(payload.size(), kMaxPayload));
  std::string bytes;
  append_number(bytes, static_cast<std::uint16_t>(payload.size()));
  append_number(bytes, static_cast<std::uint8_t>(frame.index()));
  return bytes + payload;
}

void FrameReader::append(std::string_view bytes) {
  if (!broken_) buffer_ += bytes;
}

std::optional<Frame> FrameReader::next() {
  if (broken_ || buffer_.size() < kHeaderBytes) return std::nullopt;
  PayloadReader header{std::string_view(buffer_).substr(0, kHeaderBytes)};
  const std::size_t length = header.number<std::uint16_t>();
  const std::size_t kind = header.number<std::uint8_t>();
  broken_ = length > kMaxPayload || kind >= std::variant_size_v<Frame>;
  if (broken_ || buffer_.size() < kHeaderBytes + length) return std::nullopt;

  std::optional<Frame> frame = decode(kind, std::string_view(buffer_).substr(kHeaderBytes, length));
  buffer_.erase(0, kHeaderBytes + length);
  broken_ = !frame.has_value();
  return frame;
}

}  // namespace sinkstream::watch
