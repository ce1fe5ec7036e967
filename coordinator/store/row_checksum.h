// What shows that a row is what was written: the table's name and every value in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sinkstream {

class RowChecksum {
 public:
  explicit RowChecksum(std::string_view table) { add(table); }

  RowChecksum& add(std::string_view value);  // with its length: no byte can change sides
  RowChecksum& add(std::int64_t value);
  std::int64_t value() const;  // a CRC of 64 bits, as SQLite stores integers

 private:
  void process(const void* bytes, std::size_t size);
  std::uint64_t state_ = ~std::uint64_t{0};
};

template <typename... Values>
std::int64_t row_checksum(std::string_view table, const Values&... values) {
  RowChecksum checksum(table);
  (checksum.add(values), ...);
  return checksum.value();
}

}  // namespace sinkstream
