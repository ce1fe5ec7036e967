// Which token two neighbours become, and how early.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/token_id.h"

namespace sinkstream {

class MergeTable {
 public:
  static constexpr std::uint32_t kNoRank = UINT32_MAX;
  struct Merge {
    std::uint32_t rank = kNoRank;  // a lower rank merges first
    TokenId token = -1;
  };

  explicit MergeTable(std::size_t merges);
  void set(TokenId left, TokenId right, Merge merge);  // the last one said of a pair holds
  Merge find(TokenId left, TokenId right) const;

 private:
  struct Entry {
    std::uint64_t pair;
    Merge merge;
  };
  std::size_t slot_of(std::uint64_t pair) const;
  std::vector<Entry> entries_;  // open addressing; a power of two, at most half full
};

}  // namespace sinkstream
