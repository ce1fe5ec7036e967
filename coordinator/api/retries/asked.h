// What a request asks for, as far as a retry must be told from another request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "coordinator/http/message/message.h"

namespace sinkstream {

struct Asked {
  bool changes_sessions = false;  // others change nothing, and may be done again
  std::string owner;              // SessionRegistry::owner_of
  std::string fingerprint;        // of its words, path and body: a retry's are the same, byte for byte
  std::size_t body_bytes = 0;
  std::string key;            // Idempotency-Key; empty: none
  std::string session;        // whose turn it asks for; empty: none
  bool expects_seen = false;  // it has an expected_seen, and its endpoint reads it
  // x-stainless-retry-count, by which the official clients say that they retry, and how often they have.
  std::optional<std::int64_t> retry_count;

  // Its words alone say which turn it is: of those with the same, one can be under way or be the newest.
  bool is_turn() const { return !session.empty() && (expects_seen || retry_count.has_value()); }
  // It may be the same turn, or the next one with the same words: only its client's count tells.
  bool is_ambiguous() const { return key.empty() && !expects_seen; }
};

// Throws RequestError (400): a key that is none.
Asked read_asked(const Request& request, const std::string& owner, const std::string& body_text,
                 const nlohmann::ordered_json& body, bool reads_expected_seen);

}  // namespace sinkstream
