#include "parallel/watch/frames.h"

#include <cstdint>
#include <tuple>

#include "base/wire.h"

namespace sinkstream::watch {

static constexpr RankState last_value(RankState) {
  return RankState::waiting;
}

static auto fields(wire::Is<Hello> auto& hello) {
  auto& [token, rank] = hello;
  return std::tie(token, rank);
}
static auto fields(wire::Is<Welcome> auto&) {
  return std::tie();
}
static auto fields(wire::Is<RankReport> auto& report) {
  auto& [state, step, progress, collectives, collective_microseconds, starved_milliseconds, what] = report;
  return std::tie(state, step, progress, collectives, collective_microseconds, starved_milliseconds, what);
}
static auto fields(wire::Is<Goodbye> auto&) {
  return std::tie();
}
static auto fields(wire::Is<Drain> auto&) {
  return std::tie();
}
static auto fields(wire::Is<Lost> auto& lost) {
  auto& [message] = lost;
  return std::tie(message);
}

namespace {

using Length = std::uint16_t;

// Of the frames that may be too long.
std::string& text_of(Frame& frame) {
  if (auto* report = std::get_if<RankReport>(&frame)) return report->what;
  return std::get<Lost>(frame).message;
}

}  // namespace

std::string encode(Frame frame) {
  std::size_t size = wire::encode(frame).size();
  if (size > kMaxFrame) {
    std::string& text = text_of(frame);
    text.resize(text.size() - (size - kMaxFrame));
    size = kMaxFrame;
  }
  return std::string(wire::as_text(wire::encode(static_cast<Length>(size), frame)));
}

void FrameReader::append(std::string_view bytes) {
  if (!broken_) buffer_ += bytes;
}

std::optional<Frame> FrameReader::next() {
  if (broken_ || buffer_.size() < sizeof(Length)) return std::nullopt;
  wire::Reader in(wire::as_bytes(buffer_));
  const std::size_t size = in.get<Length>();
  broken_ = size > kMaxFrame;
  if (broken_ || buffer_.size() - sizeof(Length) < size) return std::nullopt;
  try {
    auto frame = wire::decode<Frame>(in.get_bytes(size));
    buffer_.erase(0, sizeof(Length) + size);
    return frame;
  } catch (const wire::Malformed&) {
    broken_ = true;
    return std::nullopt;
  }
}

}  // namespace sinkstream::watch
