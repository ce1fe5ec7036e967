#include "coordinator/store/row_checksum.h"

#include <array>
#include <boost/crc.hpp>
#include <cstddef>

namespace sinkstream {

// CRC-64 as in the xz format.
using Crc = boost::crc_optimal<64, 0x42f0e1eba9ea3693, 0, 0, true, true>;

RowChecksum& RowChecksum::add(std::string_view value) {
  add(static_cast<std::int64_t>(value.size()));
  process(value.data(), value.size());
  return *this;
}

RowChecksum& RowChecksum::add(std::int64_t value) {
  std::array<unsigned char, 8> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(value) >> (8 * i));
  }
  process(bytes.data(), bytes.size());
  return *this;
}

std::int64_t RowChecksum::value() const {
  return static_cast<std::int64_t>(state_);
}

void RowChecksum::process(const void* bytes, std::size_t size) {
  Crc crc(state_);
  crc.process_bytes(bytes, size);
  state_ = crc.get_interim_remainder();
}

}  // namespace sinkstream
