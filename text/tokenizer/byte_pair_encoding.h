// Byte pair encoding: a piece of text as the tokens that its merges give.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/token_id.h"
#include "text/tokenizer/merge_table.h"

namespace sinkstream {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

struct BytePairOptions {
  std::optional<std::string> unknown_token;  // for characters that nothing else stands for; none: dropped
  bool fuse_unknown = false;                 // neighbouring unknown characters become one token
  bool byte_fallback = false;                // first try "<0x..>" for each byte of the character
  bool ignore_merges =
      false;  // a piece that is itself in the vocabulary is one token, whatever the merges say
  std::string continuing_prefix;  // of every character but the first of a piece
  std::string word_suffix;        // of the last character of a piece
  bool raw_bytes = false;  // pieces are any bytes, written in the byte-level alphabet in the vocabulary
};

// Immutable after construction; any thread.
class BytePairEncoding {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;  // in order of rank

  // Throws std::invalid_argument when a merge names or makes something that is not in the vocabulary.
  BytePairEncoding(Vocabulary vocabulary, const Merges& merges, BytePairOptions options = {});

  // Appends the tokens of one piece: valid UTF-8, or any bytes (`raw_bytes`). n log n in its length.
  // Throws std::runtime_error for an unknown character when the unknown token is not in the vocabulary.
  void encode(std::string_view piece, std::vector<TokenId>& tokens) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  class Symbols;
  TokenId find(std::string_view text) const;           // -1: none
  TokenId character_token(char32_t code_point) const;  // -1: none
  void read_characters();
  void read_seams(const Merges& merges);
  bool may_merge(char32_t left, char32_t right) const;

  void encode_in_parts(std::string_view piece, std::vector<TokenId>& tokens) const;
  void encode_word(std::string_view word, std::vector<TokenId>& tokens) const;
  bool take_whole(std::string_view piece, std::vector<TokenId>& tokens) const;
  void read_symbols(std::string_view word, Symbols& symbols) const;
  void add_unknown(std::string_view character, Symbols& symbols) const;
  TokenId affixed_token(std::string_view character, bool first, bool last, Symbols& symbols) const;
  void merge_short(TokenId* symbols, std::size_t count, std::vector<TokenId>& tokens) const;
  void merge_long(const std::vector<TokenId>& symbols, std::vector<TokenId>& tokens) const;

  Vocabulary vocabulary_;
  BytePairOptions options_;
  std::uint64_t cache_owner_;
  TokenId unknown_ = -1;
  MergeTable merges_;
  std::array<TokenId, 256> byte_tokens_;     // of "<0x..>"
  std::array<TokenId, 512> low_characters_;  // code points below 512: the byte-level alphabet among them
  std::array<TokenId, 256> raw_tokens_;      // of the byte-level alphabet
  std::unordered_map<char32_t, TokenId> high_characters_;

  // Pairs of characters that some merge joins. Nothing merges across any other pair, so a long piece can be
  // cut there into words that are encoded, and remembered, each on its own.
  bool cuts_ = false;
  std::vector<bool> low_seams_;  // [left * 128 + right], both ASCII
  std::unordered_set<std::uint64_t> high_seams_;
};

}  // namespace sinkstream
