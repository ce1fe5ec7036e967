#include "text/tokenizer/byte_pair_encoding.h"

#include <algorithm>
#include <atomic>
#include <queue>
#include <stdexcept>

#include "text/tokenizer/steps/byte_level.h"
#include "text/tokenizer/word_cache.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

constexpr std::size_t kShortPiece = 48;  // symbols; below it a plain scan beats a heap
constexpr char32_t kAscii = 128;

std::uint64_t next_cache_owner() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::uint64_t pair_of(char32_t left, char32_t right) {
  return (std::uint64_t{left} << 32) | right;
}

std::string byte_token_name(unsigned byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
}

}  // namespace

// Of one word, most often few: those stay on the stack.
class BytePairEncoding::Symbols {
 public:
  void add(TokenId token) {
    if (count_ < few_.size()) {
      few_[count_] = token;
    } else {
      if (many_.empty()) many_.assign(few_.begin(), few_.end());
      many_.push_back(token);
    }
    ++count_;
  }

  // An unknown character shows only when the next known one comes: until then more may fuse with it. Bytes
  // that stand for characters do not bring it out, as in the `tokenizers` library.
  void set_unknown(TokenId token, bool fuse) {
    if (has_unknown_ && !fuse) add(unknown_);
    has_unknown_ = true;
    unknown_ = token;
  }
  void bring_out_unknown() {
    if (has_unknown_) add(unknown_);
    has_unknown_ = false;
  }

  bool are_few() const { return many_.empty(); }
  TokenId* few() { return few_.data(); }
  std::size_t count() const { return count_; }
  const std::vector<TokenId>& many() const { return many_; }
  std::string& name() { return name_; }

 private:
  std::array<TokenId, kShortPiece> few_;
  std::vector<TokenId> many_;
  std::size_t count_ = 0;
  bool has_unknown_ = false;
  TokenId unknown_ = -1;
  std::string name_;
};

BytePairEncoding::BytePairEncoding(Vocabulary vocabulary, const Merges& merges, BytePairOptions options)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      cache_owner_(next_cache_owner()),
      merges_(merges.size()) {
  const auto token_of = [this](const std::string& text, std::size_t merge) {
    const TokenId token = find(text);
    if (token >= 0) return token;
    throw std::invalid_argument("merges[" + std::to_string(merge) + "] needs \"" + text +
                                "\", which is not in the vocabulary");
  };
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    if (right.size() < options_.continuing_prefix.size()) {
      throw std::invalid_argument("merges[" + std::to_string(i) + "] has a second part \"" + right +
                                  "\" that is shorter than continuing_subword_prefix");
    }
    const TokenId merged = token_of(left + right.substr(options_.continuing_prefix.size()), i);
    merges_.set(token_of(left, i), token_of(right, i), {static_cast<std::uint32_t>(i), merged});
  }
  if (options_.unknown_token) unknown_ = find(*options_.unknown_token);
  read_characters();
  read_seams(merges);
}

TokenId BytePairEncoding::find(std::string_view text) const {
  const auto found = vocabulary_.find(text);
  return found == vocabulary_.end() ? -1 : found->second;
}

void BytePairEncoding::read_characters() {
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
  for (unsigned byte = 0; byte < 256; ++byte) {
    raw_tokens_[byte] = low_characters_[byte_level_alphabet()[byte]];
    byte_tokens_[byte] = find(byte_token_name(byte));
  }
}

void BytePairEncoding::read_seams(const Merges& merges) {
  const bool whole_pieces_differ = options_.raw_bytes || options_.ignore_merges ||
                                   !options_.continuing_prefix.empty() || !options_.word_suffix.empty();
  if (whole_pieces_differ) return;
  // A token of these stands for a character that its name does not tell.
  const auto hides_characters = [this](const std::string& name) {
    const TokenId token = find(name);
    return token == unknown_ ||
           std::find(byte_tokens_.begin(), byte_tokens_.end(), token) != byte_tokens_.end();
  };
  low_seams_.assign(kAscii * kAscii, false);
  for (const auto& [left, right] : merges) {
    if (left.empty() || right.empty()) return;
    const bool may_hide = left.size() == 6 || right.size() == 6 || left == options_.unknown_token ||
                          right == options_.unknown_token;
    if (may_hide && (hides_characters(left) || hides_characters(right))) return;
    const char32_t last = first_character(last_character(left)).code_point;
    const char32_t first = first_character(right).code_point;
    if (last < kAscii && first < kAscii) {
      low_seams_[last * kAscii + first] = true;
    } else {
      high_seams_.insert(pair_of(last, first));
    }
  }
  cuts_ = true;
}

bool BytePairEncoding::may_merge(char32_t left, char32_t right) const {
  if (left < kAscii && right < kAscii) return low_seams_[left * kAscii + right];
  return high_seams_.contains(pair_of(left, right));
}

TokenId BytePairEncoding::character_token(char32_t code_point) const {
  if (code_point < low_characters_.size()) return low_characters_[code_point];
  const auto found = high_characters_.find(code_point);
  return found == high_characters_.end() ? -1 : found->second;
}

void BytePairEncoding::encode(std::string_view piece, std::vector<TokenId>& tokens) const {
  if (cuts_) return encode_in_parts(piece, tokens);
  if (!piece.empty()) encode_word(piece, tokens);
}

// Unknown characters are kept together with their neighbours: they may fuse.
void BytePairEncoding::encode_in_parts(std::string_view piece, std::vector<TokenId>& tokens) const {
  std::size_t begin = 0;
  char32_t last = 0;
  bool last_known = false;
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t here = at;
    const char32_t character = next_character(piece, at);
    const bool known = character_token(character) >= 0;
    if (known && last_known && !may_merge(last, character)) {
      encode_word(piece.substr(begin, here - begin), tokens);
      begin = here;
    }
    last = character;
    last_known = known;
  }
  if (begin < piece.size()) encode_word(piece.substr(begin), tokens);
}

void BytePairEncoding::encode_word(std::string_view word, std::vector<TokenId>& tokens) const {
  WordCache& cache = WordCache::of_this_thread();
  if (const auto known = cache.find(cache_owner_, word); !known.empty()) {
    tokens.insert(tokens.end(), known.begin(), known.end());
    return;
  }
  const std::size_t before = tokens.size();
  if (!(options_.ignore_merges && take_whole(word, tokens))) {
    Symbols symbols;
    read_symbols(word, symbols);
    if (symbols.are_few()) {
      merge_short(symbols.few(), symbols.count(), tokens);
    } else {
      merge_long(symbols.many(), tokens);
    }
  }
  cache.keep(cache_owner_, word, std::span(tokens).subspan(before));
}

bool BytePairEncoding::take_whole(std::string_view piece, std::vector<TokenId>& tokens) const {
  std::string written;
  if (options_.raw_bytes) {
    append_byte_level(piece, written);
    piece = written;
  }
  const TokenId token = find(piece);
  if (token >= 0) tokens.push_back(token);
  return token >= 0;
}

void BytePairEncoding::read_symbols(std::string_view word, Symbols& symbols) const {
  const bool plain = options_.continuing_prefix.empty() && options_.word_suffix.empty();
  if (options_.raw_bytes && plain) {
    for (const char c : word) {
      const auto byte = static_cast<std::uint8_t>(c);
      if (raw_tokens_[byte] >= 0) {
        symbols.bring_out_unknown();
        symbols.add(raw_tokens_[byte]);
      } else {
        std::string character;
        append_utf8(character, byte_level_alphabet()[byte]);
        add_unknown(character, symbols);
      }
    }
    return symbols.bring_out_unknown();
  }
  std::string written;
  if (options_.raw_bytes) {
    append_byte_level(word, written);
    word = written;
  }
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t begin = at;
    const char32_t code_point = next_character(word, at);
    const std::string_view character = word.substr(begin, at - begin);
    const TokenId token = plain ? character_token(code_point)
                                : affixed_token(character, begin == 0, at == word.size(), symbols);
    if (token >= 0) {
      symbols.bring_out_unknown();
      symbols.add(token);
    } else {
      add_unknown(plain ? character : std::string_view(symbols.name()), symbols);
    }
  }
  symbols.bring_out_unknown();
}

TokenId BytePairEncoding::affixed_token(std::string_view character, bool first, bool last,
                                        Symbols& symbols) const {
  std::string& name = symbols.name();
  name.clear();
  if (!first) name += options_.continuing_prefix;
  name += character;
  if (last) name += options_.word_suffix;
  return find(name);
}

void BytePairEncoding::add_unknown(std::string_view character, Symbols& symbols) const {
  if (options_.byte_fallback) {
    const auto token_of = [this](char c) { return byte_tokens_[static_cast<std::uint8_t>(c)]; };
    if (std::all_of(character.begin(), character.end(), [&](char c) { return token_of(c) >= 0; })) {
      for (const char c : character) symbols.add(token_of(c));
      return;
    }
  }
  if (!options_.unknown_token) return;
  if (unknown_ < 0) {
    throw std::runtime_error("\"" + std::string(character) +
                             "\" is not in the vocabulary, and neither is \"" + *options_.unknown_token +
                             "\", the tokenizer's unk_token");
  }
  symbols.set_unknown(unknown_, options_.fuse_unknown);
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
