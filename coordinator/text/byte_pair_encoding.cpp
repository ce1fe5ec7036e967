#include "coordinator/text/byte_pair_encoding.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <stdexcept>

#include "coordinator/text/utf8.h"

namespace sinkstream {
namespace {

constexpr std::uint64_t kEmptyPair = UINT64_MAX;  // no token is -1, so no pair has this value
constexpr std::size_t kShortPiece = 48;           // characters; below it a plain scan beats a heap

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

BytePairEncoding::BytePairEncoding(Vocabulary vocabulary, const Merges& merges, bool ignore_merges)
    : vocabulary_(std::move(vocabulary)), ignore_merges_(ignore_merges), merges_(merges.size()) {
  const auto token_of = [this](const std::string& text, std::size_t merge) {
    const auto found = vocabulary_.find(text);
    if (found != vocabulary_.end()) return found->second;
    throw std::invalid_argument("merges[" + std::to_string(merge) + "] needs \"" + text +
                                "\", which is not in the vocabulary");
  };
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    const TokenId merged = token_of(left + right, i);
    merges_.set(token_of(left, i), token_of(right, i), {static_cast<std::uint32_t>(i), merged});
  }
  low_characters_.fill(-1);
  for (const auto& [text, token] : vocabulary_) {
    if (text.empty()) continue;
    const Utf8Step step = first_character(text);
    if (step.length != text.size() || step.status != Utf8Status::valid) continue;
    if (step.code_point < low_characters_.size()) {
      low_characters_[step.code_point] = token;
    } else {
      high_characters_[step.code_point] = token;
    }
  }
}

TokenId BytePairEncoding::character_token(char32_t code_point) const {
  if (code_point < low_characters_.size()) return low_characters_[code_point];
  const auto found = high_characters_.find(code_point);
  return found == high_characters_.end() ? -1 : found->second;
}

void BytePairEncoding::encode(std::string_view piece, std::vector<TokenId>& tokens) const {
  if (ignore_merges_) {
    if (const auto found = vocabulary_.find(piece); found != vocabulary_.end()) {
      tokens.push_back(found->second);
      return;
    }
  }
  std::array<TokenId, kShortPiece> few;
  std::vector<TokenId> many;
  std::size_t count = 0;
  while (!piece.empty()) {
    const Utf8Step step = first_character(piece);
    piece.remove_prefix(step.length);
    const TokenId token = character_token(step.code_point);
    if (token < 0) continue;
    if (count == few.size() && many.empty()) many.assign(few.begin(), few.end());
    if (count < few.size()) {
      few[count] = token;
    } else {
      many.push_back(token);
    }
    ++count;
  }
  if (many.empty()) {
    merge_short(few.data(), count, tokens);
  } else {
    merge_long(many, tokens);
  }
}

// Both orders are the same: the lowest rank first, among equals the leftmost.
void BytePairEncoding::merge_short(TokenId* symbols, std::size_t count, std::vector<TokenId>& tokens) const {
  std::array<MergeTable::Merge, kShortPiece> next;  // of symbol i and i + 1
  for (std::size_t i = 0; i + 1 < count; ++i) next[i] = merges_.find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (next[i].rank < next[best].rank) best = i;
    }
    if (next[best].rank == MergeTable::kNoRank) break;
    symbols[best] = next[best].token;
    std::copy(symbols + best + 2, symbols + count, symbols + best + 1);
    std::copy(next.begin() + best + 1, next.begin() + (count - 1), next.begin() + best);
    --count;
    if (best + 1 < count) next[best] = merges_.find(symbols[best], symbols[best + 1]);
    if (best > 0) next[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
  }
  tokens.insert(tokens.end(), symbols, symbols + count);
}

void BytePairEncoding::merge_long(const std::vector<TokenId>& symbols, std::vector<TokenId>& tokens) const {
  struct Symbol {
    TokenId token;
    std::size_t previous, next;  // `end`: none
    MergeTable::Merge merge;     // with the next symbol
  };
  struct Candidate {
    std::uint32_t rank;
    std::size_t position;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const std::size_t end = symbols.size();
  std::vector<Symbol> list(end);
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < end; ++i) {
    list[i] = {symbols[i], i == 0 ? end : i - 1, i + 1, {}};
    if (i + 1 < end) list[i].merge = merges_.find(symbols[i], symbols[i + 1]);
    if (list[i].merge.rank != MergeTable::kNoRank) candidates.push_back({list[i].merge.rank, i});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{},
                                                                               std::move(candidates));
  const auto refresh = [&](std::size_t position) {
    Symbol& symbol = list[position];
    symbol.merge =
        symbol.next == end ? MergeTable::Merge{} : merges_.find(symbol.token, list[symbol.next].token);
    if (symbol.merge.rank != MergeTable::kNoRank) queue.push({symbol.merge.rank, position});
  };
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    Symbol& symbol = list[candidate.position];
    if (symbol.merge.rank != candidate.rank) continue;  // overtaken by another merge
    Symbol& absorbed = list[symbol.next];
    absorbed.merge = {};
    symbol.token = symbol.merge.token;
    symbol.next = absorbed.next;
    if (symbol.next != end) list[symbol.next].previous = candidate.position;
    refresh(candidate.position);
    if (symbol.previous != end) refresh(symbol.previous);
  }
  for (std::size_t i = 0; i != end; i = list[i].next) tokens.push_back(list[i].token);
}

}  // namespace sinkstream
