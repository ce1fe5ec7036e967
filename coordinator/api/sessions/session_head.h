// What is kept of a session on disk beside its tokens, as JSON text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/sessions/client_session.h"
#include "coordinator/api/sessions/session_contents.h"
#include "coordinator/store/session_store.h"

namespace sinkstream {

struct SessionHead {
  SessionFacts facts;  // without its id, and what the server knows better: slot_bytes
  std::int64_t last_used_at = 0;
  std::int64_t tokens = 0;  // when it was written; later ones may stand behind
  std::int64_t unsent = 0;  // the newest of those, of which the engine had none yet
  SessionContents contents{.transcript = Transcript(1)};  // without tokens; nothing is pending
};

// With those of its marks alone that have messages, which are as many at most as it can go back to. Where its
// other answers stand is kept beside it.
std::string head_text(const SessionFacts& facts, const SessionContents& contents, std::int64_t last_used_at);

// Throws std::runtime_error: the text is no such head, or one of a later version.
SessionHead read_head(std::string_view text);
void add_older_answers(const std::vector<StoredAnswer>& answers, SessionContents& contents);

}  // namespace sinkstream
