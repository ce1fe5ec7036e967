#include "coordinator/text/added_tokens.h"

#include <algorithm>
#include <cstdint>

#include "coordinator/text/utf8.h"

namespace sinkstream {
namespace {

// The last character of valid UTF-8 that is not empty.
std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<std::uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

std::size_t leading_space(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    const Utf8Step step = first_character(text.substr(length));
    if (!is_white_space(step.code_point)) break;
    length += step.length;
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

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), trie_(1), word_(TextPattern::regex("\\w")) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    std::size_t node = 0;
    for (const char byte : tokens_[i].content) {
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

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text) const {
  const AddedToken* longest = nullptr;
  const Node* node = &trie_[0];
  for (const char byte : text) {
    const auto edge = std::find_if(node->edges.begin(), node->edges.end(),
                                   [byte](const Edge& e) { return e.byte == byte; });
    if (edge == node->edges.end()) break;
    node = &trie_[edge->node];
    if (node->token) longest = &tokens_[*node->token];
  }
  return longest;
}

bool AddedTokenMatcher::touches_word(std::string_view before, std::string_view after) const {
  return (!before.empty() && word_.matches(last_character(before))) ||
         (!after.empty() && word_.matches(after.substr(0, first_character(after).length)));
}

void AddedTokenMatcher::split(std::string_view text, std::vector<TextSpan>& spans) const {
  std::size_t done = 0;  // everything before it is in `spans`
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = longest_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->content.size();
    at = end;
    if (token->single_word && touches_word(text.substr(0, begin), text.substr(end))) continue;
    if (token->lstrip) begin -= trailing_space(text.substr(done, begin - done));
    if (token->rstrip) end += leading_space(text.substr(end));
    if (begin > done) spans.push_back({-1, text.substr(done, begin - done)});
    spans.push_back({token->id, text.substr(begin, end - begin)});
    at = done = end;
  }
  if (done < text.size()) spans.push_back({-1, text.substr(done)});
}

}  // namespace sinkstream
