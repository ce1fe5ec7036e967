// The rows that hold sessions' tokens: each some tokens that follow on one another.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/token_id.h"
#include "coordinator/store/database.h"
#include "coordinator/store/session_store.h"

namespace sinkstream {

// How far a session's tokens go. [pruned_begin, pruned_end) are no longer there.
struct Extent {
  std::int64_t end = 0;
  std::int64_t pruned_begin = 0;
  std::int64_t pruned_end = 0;
};

// Whose rows: the number finds them, the id is part of their checksums.
struct RowOwner {
  std::int64_t number;
  std::string_view id;
};

// Positions are a session's. Throws StoreFailure.
class TokenRows {
 public:
  static constexpr std::int64_t kMostTokens = 4096;  // of a row

  explicit TokenRows(Database& database);

  // [from, to), all of which should be there. No row that begins before `lowest` counts.
  StoredTokens read(const RowOwner& owner, std::int64_t lowest, std::int64_t from, std::int64_t to);
  void append(const RowOwner& owner, std::int64_t begin, std::span<const TokenId> tokens);
  void erase(const RowOwner& owner, std::int64_t from, std::int64_t to);  // rows that begin in [from, to)
  void cut(const RowOwner& owner,
           std::int64_t end);  // the last row before `end` ends there; a damaged one stays
  // Rows that begin in [from, to) become as few as can be. What is damaged stays.
  void merge(const RowOwner& owner, std::int64_t from, std::int64_t to);

  // Where the first row at `from` or later begins, the last at `to` or earlier.
  std::optional<std::int64_t> first_from(const RowOwner& owner, std::int64_t from);
  std::optional<std::int64_t> last_until(const RowOwner& owner, std::int64_t to);
  // What the rows themselves say, if nothing else is known: the newest that follow on one another, up to the
  // last.
  Extent extent(const RowOwner& owner);

 private:
  struct Row {
    std::int64_t begin;
    std::int64_t end;
    std::string_view bytes;
    bool sound;
  };
  static Row row(const Query& rows, const RowOwner& owner);
  std::int64_t sound_end(const RowOwner& owner, std::int64_t lowest, std::int64_t to);
  void put(const RowOwner& owner, std::int64_t begin, std::string_view bytes);

  Statement select_;
  Statement last_of_;
  Statement first_;
  Statement last_;
  Statement count_;
  Statement insert_;
  Statement delete_;
  std::string bytes_;  // of a row that is written
};

}  // namespace sinkstream
