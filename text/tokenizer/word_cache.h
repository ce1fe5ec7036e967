// Remembers the tokens of short, frequent pieces. Each thread has its own, of a fixed size.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "base/token_id.h"

namespace sinkstream {

class WordCache {
 public:
  static WordCache& of_this_thread();

  // `owner` tells whose tokens they are: a number that no other model of the process has, never 0.
  // None known: an empty span.
  std::span<const TokenId> find(std::uint64_t owner, std::string_view word) {
    if (!fits(word)) return {};
    const Slot& slot = slot_of(owner, word);
    if (slot.owner != owner || slot.size != word.size() ||
        std::memcmp(slot.word.data(), word.data(), word.size()) != 0) {
      return {};
    }
    return {slot.tokens.data(), slot.count};
  }

  void keep(std::uint64_t owner, std::string_view word, std::span<const TokenId> tokens) {
    if (!fits(word) || tokens.empty() || tokens.size() > kMaxTokens) return;
    Slot& slot = slot_of(owner, word);
    slot.owner = owner;
    slot.size = static_cast<std::uint8_t>(word.size());
    slot.count = static_cast<std::uint8_t>(tokens.size());
    std::memcpy(slot.word.data(), word.data(), word.size());
    std::memcpy(slot.tokens.data(), tokens.data(), tokens.size_bytes());
  }

 private:
  static constexpr std::size_t kMaxWord = 30;
  static constexpr std::size_t kMaxTokens = 6;
  static constexpr std::size_t kSlots = 1 << 14;  // 1 MiB a thread
  struct Slot {
    std::uint64_t owner = 0;
    std::array<TokenId, kMaxTokens> tokens;
    std::uint8_t size, count;
    std::array<char, kMaxWord> word;
  };

  WordCache() : slots_(std::make_unique<std::array<Slot, kSlots>>()) {}
  static bool fits(std::string_view word) { return !word.empty() && word.size() <= kMaxWord; }

  Slot& slot_of(std::uint64_t owner, std::string_view word) {
    std::uint64_t hash = owner + (word.size() << 56);
    while (!word.empty()) {
      std::uint64_t part = 0;
      const std::size_t length = word.size() < 8 ? word.size() : 8;
      std::memcpy(&part, word.data(), length);
      hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 29;
      word.remove_prefix(length);
    }
    return (*slots_)[(hash >> 32) % kSlots];
  }

  std::unique_ptr<std::array<Slot, kSlots>> slots_;
};

}  // namespace sinkstream
