// Byte pair encoding: a piece of text as the tokens that its merges give.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "worker/token_id.h"

namespace sinkstream {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

// Which token two neighbours become, and how early: a lower rank merges first.
class MergeTable {
 public:
  static constexpr std::uint32_t kNoRank = UINT32_MAX;
  struct Merge {
    std::uint32_t rank = kNoRank;
    TokenId token = -1;
  };

  explicit MergeTable(std::size_t merges);
  void set(TokenId left, TokenId right, Merge merge);
  Merge find(TokenId left, TokenId right) const;

 private:
  struct Entry {
    std::uint64_t pair;
    Merge merge;
  };
  std::size_t slot_of(std::uint64_t pair) const;
  std::vector<Entry> entries_;  // open addressing; a power of two, at most half full
};

// Immutable after construction; any thread.
class BytePairEncoding {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;  // in order of rank

  // Throws std::invalid_argument when a merge names or makes something that is not in the vocabulary.
  BytePairEncoding(Vocabulary vocabulary, const Merges& merges, bool ignore_merges);

  // Appends the tokens of one piece of valid UTF-8. Characters outside the vocabulary give nothing.
  // n log n in the length of the piece.
  void encode(std::string_view piece, std::vector<TokenId>& tokens) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  TokenId character_token(char32_t code_point) const;  // -1: none
  void merge_short(TokenId* symbols, std::size_t count, std::vector<TokenId>& tokens) const;
  void merge_long(const std::vector<TokenId>& symbols, std::vector<TokenId>& tokens) const;

  Vocabulary vocabulary_;
  bool ignore_merges_;  // a piece that is itself in the vocabulary is one token, whatever the merges say
  MergeTable merges_;
  std::array<TokenId, 512> low_characters_;  // code points below 512: the byte-level alphabet among them
  std::unordered_map<char32_t, TokenId> high_characters_;
};

}  // namespace sinkstream
