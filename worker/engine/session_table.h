// Who sits in which slot, and what the next step does to slots. Knows nothing of turns but that a session may
// have one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/session_shape.h"
#include "worker/engine/session.h"
#include "worker/engine/step_plan.h"

namespace sinkstream {

// Operations of a step, with the number of each one's session.
struct SessionOperations {
  std::vector<SlotOperation> operations;
  std::vector<std::uint64_t> sessions;
};

class SessionTable {
 public:
  SessionTable(const SessionShape& shape, std::int32_t num_slots);

  // Each is an operation of the next step, in the order of the calls; the slot must be free where one is
  // taken.
  Session& open(std::int32_t slot, SessionId id, const CacheWindow& window);
  Session& copy(const Session& from, std::int32_t slot, SessionId id);
  void begin_turn(const Session& session, SamplingParams sampling);
  void roll_back(Session& session, std::int64_t length);  // can_roll_back() holds
  void close(Session& session);                           // `session` ends here

  // Whether the ring still has all that the session's token at `length` will attend to.
  bool can_roll_back(const Session& session, std::int64_t length) const;

  SessionOperations take_operations();

  Session* find(SessionId id) const;
  Session* find(std::int32_t slot, std::uint64_t number) const;  // none if it has ended
  Session* in_slot(std::int32_t slot) const { return slots_[static_cast<std::size_t>(slot)].get(); }
  std::int32_t num_slots() const { return static_cast<std::int32_t>(slots_.size()); }
  std::optional<std::int32_t> free_slot() const;
  std::int32_t free_slots() const;
  // By slot, beginning with `first`. A session may be closed meanwhile, also the present one.
  void for_each(const std::function<void(Session&)>& visit, std::int32_t first = 0) const;

 private:
  Session& place(std::int32_t slot);
  void operate(const Session& session, SlotOperation operation);

  const SessionShape shape_;
  std::vector<std::unique_ptr<Session>> slots_;  // by slot; empty: free
  SessionOperations next_;
  std::uint64_t next_number_ = 1;
};

}  // namespace sinkstream
