#include "text/tokenizer/added_tokens.h"

#include <algorithm>
#include <cstdint>

#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

// Length of the white space that `text` begins with.
std::size_t leading_space(std::string_view text) {
  std::size_t length = 0;
  for (std::size_t at = 0; at < text.size(); length = at) {
    if (!is_white_space(next_character(text, at))) break;
  }
  return length;
}

std::size_t trailing_space(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    const std::string_view last = last_character(text.substr(0, text.size() - length));
    if (!is_white_space(first_character(last).code_point)) break;
    length += last.size();
  }
  return length;
}

// Where the run of white space that begins at or before each place ends; asked from left to right, it looks
// at no byte twice.
class SpaceAfter {
 public:
  explicit SpaceAfter(std::string_view text) : text_(text) {}
  std::size_t end(std::size_t from) {
    if (from < begin_ || from > end_) {
      begin_ = from;
      end_ = from + leading_space(text_.substr(from));
    }
    return end_;
  }

 private:
  std::string_view text_;
  std::size_t begin_ = 1, end_ = 0;  // none yet
};

}  // namespace

// \w as Rust's regular expressions have it: with the joiners, unlike Oniguruma's.
AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized)
    : trie_(1), word_(TextPattern::regex("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200C\\u200D]")) {
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(tokens_),
               [normalized](const AddedToken& token) { return token.normalized == normalized; });
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& pattern = normalized ? tokens_[i].normal : tokens_[i].content;
    first_bytes_[static_cast<std::uint8_t>(pattern[0])] = true;
    std::size_t node = 0;
    for (const char byte : pattern) {
      auto& edges = trie_[node].edges;
      const auto edge =
          std::find_if(edges.begin(), edges.end(), [byte](const Edge& e) { return e.byte == byte; });
      if (edge != edges.end()) {
        node = edge->node;
      } else {
        edges.push_back({byte, trie_.size()});
        node = trie_.size();
        trie_.emplace_back();
      }
    }
    trie_[node].token = i;
  }
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text) const {
  Match longest{nullptr, 0};
  const Node* node = &trie_[0];
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto edge = std::find_if(node->edges.begin(), node->edges.end(),
                                   [byte = text[i]](const Edge& e) { return e.byte == byte; });
    if (edge == node->edges.end()) break;
    node = &trie_[edge->node];
    if (node->token) longest = {&tokens_[*node->token], i + 1};
  }
  return longest;
}

bool AddedTokenMatcher::touches_word(std::string_view before, std::string_view after) const {
  return (!before.empty() && word_.matches(last_character(before))) ||
         (!after.empty() && word_.matches(after.substr(0, first_character(after).length)));
}

void AddedTokenMatcher::split(std::string_view text, std::vector<TextSpan>& spans) const {
  SpaceAfter space(text);
  std::size_t done = 0;  // where the text after the last token begins
  for (std::size_t at = 0; at < text.size();) {
    if (!first_bytes_[static_cast<std::uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    const auto [token, length] = longest_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + length;
    at = end;
    if (token->single_word && touches_word(text.substr(0, begin), text.substr(end))) continue;
    if (token->lstrip) begin = begin <= done ? done : begin - trailing_space(text.substr(done, begin - done));
    if (token->rstrip) end = space.end(end);
    if (begin >= end) continue;  // the last token has taken all of it
    if (begin > done) spans.push_back({-1, text.substr(done, begin - done)});
    spans.push_back({token->id, text.substr(begin, end - begin)});
    done = end;
  }
  if (done < text.size()) spans.push_back({-1, text.substr(done)});
}

}  // namespace sinkstream
