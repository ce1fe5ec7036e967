#include "coordinator/store/token_rows.h"

#include <algorithm>
#include <cstddef>

#include "coordinator/store/row_checksum.h"

namespace sinkstream {

namespace {

constexpr std::size_t kTokenBytes = 4;  // little-endian
constexpr std::int64_t kLastPosition = std::int64_t{1} << 60;

void encode(std::span<const TokenId> tokens, std::string& bytes) {
  bytes.resize(tokens.size() * kTokenBytes);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    for (std::size_t b = 0; b < kTokenBytes; ++b) {
      bytes[i * kTokenBytes + b] = static_cast<char>(static_cast<std::uint32_t>(tokens[i]) >> (8 * b));
    }
  }
}

void decode(std::string_view bytes, std::vector<TokenId>& tokens) {
  for (std::size_t i = 0; i + kTokenBytes <= bytes.size(); i += kTokenBytes) {
    std::uint32_t token = 0;
    for (std::size_t b = 0; b < kTokenBytes; ++b) {
      token |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i + b])) << (8 * b);
    }
    tokens.push_back(static_cast<TokenId>(token));
  }
}

std::int64_t checksum(const RowOwner& owner, std::int64_t begin, std::string_view bytes) {
  return row_checksum("tokens", owner.id, begin, bytes);
}

}  // namespace

TokenRows::TokenRows(Database& database)
    : select_(database,
              "SELECT first, tokens, crc FROM tokens WHERE session = ?1 AND first >= ?2 AND first < ?3 ORDER "
              "BY first"),
      last_of_(database,
               "SELECT first, tokens, crc FROM tokens WHERE session = ?1 AND first < ?2 ORDER BY first DESC "
               "LIMIT 1"),
      first_(database, "SELECT first FROM tokens WHERE session = ?1 AND first >= ?2 ORDER BY first LIMIT 1"),
      last_(database,
            "SELECT first FROM tokens WHERE session = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1"),
      count_(database, "SELECT count(*) FROM tokens WHERE session = ?1 AND first >= ?2 AND first < ?3"),
      // A damaged file can hold a row that was lost and came back.
      insert_(database, "INSERT OR REPLACE INTO tokens VALUES(?1, ?2, ?3, ?4)"),
      delete_(database, "DELETE FROM tokens WHERE session = ?1 AND first >= ?2 AND first < ?3") {}

TokenRows::Row TokenRows::row(const Query& rows, const RowOwner& owner) {
  const std::int64_t begin = rows.integer(0);
  const std::string_view bytes = rows.bytes(1);
  if (begin < 0 || begin >= kLastPosition) return {begin, begin, bytes, false};
  const std::int64_t end = begin + static_cast<std::int64_t>(bytes.size() / kTokenBytes);
  const bool sound = end > begin && end - begin <= kMostTokens && bytes.size() % kTokenBytes == 0 &&
                     rows.integer(2) == checksum(owner, begin, bytes);
  return {begin, end, bytes, sound};
}

StoredTokens TokenRows::read(const RowOwner& owner, std::int64_t lowest, std::int64_t from, std::int64_t to) {
  StoredTokens read{.begin = from};
  std::int64_t next = from;
  try {
    // The row in which `from` lies begins less than a row before it.
    Query rows = select_.query(owner.number, std::max(lowest, from - kMostTokens + 1), to);
    while (next < to && rows.next()) {
      const Row here = row(rows, owner);
      if (here.begin > next || (here.begin == next && !here.sound)) break;
      if (!here.sound || here.end <= next)
        continue;  // what a damaged row should hold a sound one may have all the same
      const std::int64_t end = std::min(here.end, to);
      decode(here.bytes.substr((next - here.begin) * kTokenBytes, (end - next) * kTokenBytes), read.tokens);
      next = end;
    }
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
  }
  if (next < to) read.damaged_from = next > from ? next : sound_end(owner, lowest, from);
  return read;
}

// How far the rows that begin before `to` are sound, if `to` itself lies in a damaged one: that one's begin.
std::int64_t TokenRows::sound_end(const RowOwner& owner, std::int64_t lowest, std::int64_t to) {
  std::int64_t end = -1;
  try {
    Query rows = select_.query(owner.number, std::max(lowest, to - kMostTokens + 1), to);
    while (rows.next()) {
      const Row here = row(rows, owner);
      if (!here.sound) return end < 0 ? here.begin : std::min(end, here.begin);
      end = here.end;
    }
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
  }
  return end < 0 ? to : std::min(end, to);
}

void TokenRows::append(const RowOwner& owner, std::int64_t begin, std::span<const TokenId> tokens) {
  while (!tokens.empty()) {
    const std::size_t count = std::min<std::size_t>(tokens.size(), kMostTokens);
    encode(tokens.first(count), bytes_);
    put(owner, begin, bytes_);
    tokens = tokens.subspan(count);
    begin += static_cast<std::int64_t>(count);
  }
}

void TokenRows::put(const RowOwner& owner, std::int64_t begin, std::string_view bytes) {
  insert_.run(owner.number, begin, Blob{bytes}, checksum(owner, begin, bytes));
}

void TokenRows::erase(const RowOwner& owner, std::int64_t from, std::int64_t to) {
  delete_.run(owner.number, from, to);
}

void TokenRows::cut(const RowOwner& owner, std::int64_t end) {
  std::int64_t begin = 0;
  {
    Query rows = last_of_.query(owner.number, end);
    if (!rows.next()) return;
    const Row last = row(rows, owner);
    if (!last.sound || last.end <= end) return;
    begin = last.begin;
    bytes_ = last.bytes.substr(0, (end - begin) * kTokenBytes);
  }
  put(owner, begin, bytes_);
}

void TokenRows::merge(const RowOwner& owner, std::int64_t from, std::int64_t to) {
  const auto begin = first_from(owner, from);
  if (!begin || *begin >= to) return;
  const StoredTokens sound = read(owner, *begin, *begin, to);
  const auto count = static_cast<std::int64_t>(sound.tokens.size());
  {
    Query rows = count_.query(owner.number, *begin, *begin + count);
    if (!rows.next() || rows.integer(0) <= (count + kMostTokens - 1) / kMostTokens) return;
  }
  erase(owner, *begin, *begin + count);
  append(owner, *begin, sound.tokens);
}

std::optional<std::int64_t> TokenRows::first_from(const RowOwner& owner, std::int64_t from) {
  Query rows = first_.query(owner.number, from);
  return rows.next() ? std::optional(rows.integer(0)) : std::nullopt;
}

std::optional<std::int64_t> TokenRows::last_until(const RowOwner& owner, std::int64_t to) {
  Query rows = last_.query(owner.number, to);
  return rows.next() ? std::optional(rows.integer(0)) : std::nullopt;
}

Extent TokenRows::extent(const RowOwner& owner) {
  Extent extent;
  try {
    Query rows = select_.query(owner.number, std::int64_t{0}, kLastPosition);
    while (rows.next()) {
      const Row here = row(rows, owner);
      if (!here.sound || here.end <= extent.end) continue;
      if (here.begin > extent.end) {
        if (extent.pruned_end == 0) extent.pruned_begin = extent.end;
        extent.pruned_end = here.begin;
      }
      extent.end = here.end;
    }
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
  }
  return extent;
}

}  // namespace sinkstream
