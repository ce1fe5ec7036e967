#include "text/tokenizer/merge_table.h"

#include <algorithm>
#include <bit>

namespace sinkstream {
namespace {

constexpr std::uint64_t kEmptyPair = UINT64_MAX;  // no token is -1, so no pair has this value

std::uint64_t pair_of(TokenId left, TokenId right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(std::size_t merges)
    : entries_(std::bit_ceil(std::max<std::size_t>(2 * merges, 2)), Entry{kEmptyPair, {}}) {}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  const std::size_t mask = entries_.size() - 1;
  const std::uint64_t hash = pair * 0x9E3779B97F4A7C15u;
  std::size_t slot = (hash >> 32) & mask;
  while (entries_[slot].pair != pair && entries_[slot].pair != kEmptyPair) slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::set(TokenId left, TokenId right, Merge merge) {
  const std::uint64_t pair = pair_of(left, right);
  entries_[slot_of(pair)] = {pair, merge};
}

MergeTable::Merge MergeTable::find(TokenId left, TokenId right) const {
  return entries_[slot_of(pair_of(left, right))].merge;
}

}  // namespace sinkstream
