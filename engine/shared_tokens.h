// A list of tokens that is shared, not copied.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "base/token_id.h"

namespace sinkstream {

// Tokens that nobody changes any more. Copies share them, so that the choices of a request hold their prompt
// once.
class SharedTokens {
 public:
  SharedTokens() : SharedTokens(std::vector<TokenId>()) {}
  SharedTokens(std::vector<TokenId> tokens)
      : tokens_(std::make_shared<const std::vector<TokenId>>(std::move(tokens))) {}
  SharedTokens(std::initializer_list<TokenId> tokens) : SharedTokens(std::vector<TokenId>(tokens)) {}

  const std::vector<TokenId>& list() const { return *tokens_; }
  std::size_t size() const { return tokens_->size(); }
  TokenId operator[](std::size_t i) const { return (*tokens_)[i]; }
  bool empty() const { return tokens_->empty(); }
  auto begin() const { return tokens_->begin(); }
  auto end() const { return tokens_->end(); }

 private:
  std::shared_ptr<const std::vector<TokenId>> tokens_;
};

}  // namespace sinkstream
