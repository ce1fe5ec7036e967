#include "coordinator/store/write_ahead_log.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <vector>

namespace sinkstream {

namespace {

constexpr std::size_t kHeaderBytes = 32;
constexpr std::size_t kFrameHeaderBytes = 24;
constexpr std::uint32_t kMagic = 0x377f0682;  // and 1: checksums are of big-endian words

using Bytes = std::span<const unsigned char>;

std::uint32_t word(Bytes bytes, std::size_t at, bool big_endian = true) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value |= static_cast<std::uint32_t>(bytes[at + i]) << (8 * (big_endian ? 3 - i : i));
  }
  return value;
}

// It goes through the log's header and all of its frames.
struct Checksum {
  bool big_endian = false;
  std::uint32_t first = 0;
  std::uint32_t second = 0;

  void add(Bytes bytes) {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      first += word(bytes, at, big_endian) + second;
      second += word(bytes, at + 4, big_endian) + first;
    }
  }
  bool is_at(Bytes bytes, std::size_t at) const {
    return word(bytes, at) == first && word(bytes, at + 4) == second;
  }
};

bool read(std::ifstream& stream, std::span<unsigned char> bytes) {
  return static_cast<bool>(
      stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size())));
}

}  // namespace

std::string damage_of_log(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::array<unsigned char, kHeaderBytes> header;
  if (!read(stream, header)) return "";
  Checksum checksum{.big_endian = (word(header, 0) & 1) != 0};
  checksum.add(Bytes(header).first(24));
  const std::uint32_t page_bytes = word(header, 8);
  const bool is_log = (word(header, 0) & ~1u) == kMagic && page_bytes >= 512 && page_bytes <= 65'536;
  std::vector<unsigned char> frame(kFrameHeaderBytes + (is_log ? page_bytes : 4'096));
  if (!is_log || !checksum.is_at(header, 24)) return read(stream, frame) ? "its header is damaged" : "";

  std::int64_t frames = 0;
  bool sound = true;
  while (read(stream, frame)) {
    const bool of_this_log = std::equal(header.begin() + 16, header.begin() + 24, frame.begin() + 8);
    const bool ends_commit = word(frame, 4) != 0;
    if (sound) {
      checksum.add(Bytes(frame).first(8));
      checksum.add(Bytes(frame).subspan(kFrameHeaderBytes));
      sound = of_this_log && checksum.is_at(frame, 16);
      frames += sound;
    }
    if (!sound && of_this_log && ends_commit) {
      return fmt::format("commits behind its {} sound pages are damaged", frames);
    }
  }
  return "";
}

}  // namespace sinkstream
