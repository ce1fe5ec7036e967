// Who sits in which slot, who is parked in which place, and what the next step does to both. Knows nothing of
// turns but that a session may have one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
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
  SessionTable(const SessionShape& shape, std::int32_t num_slots, std::int32_t num_places);

  // Each is an operation of the next step, in the order of the calls; the slot must be free where one is
  // taken.
  Session& open(std::int32_t slot, SessionId id, const CacheWindow& window);
  Session& copy(const Session& from, std::int32_t slot, SessionId id);  // `from` may be parked
  void begin_turn(const Session& session, SamplingParams sampling);
  void skip(Session& session, std::int64_t position);     // leaves out the tokens before it
  void roll_back(Session& session, std::int64_t length);  // can_roll_back() holds
  void close(Session& session);                           // `session` ends here

  // ---- Parking. A place must be free where a session goes there.
  // What is in a slot is saved in a place. Once that has succeeded everywhere the session is parked, and the
  // slot free: leave_slot().
  void save(Session& session, std::int32_t place);
  void leave_slot(Session& session);
  // It could not be saved: the session goes on in its slot, and its place is not used any more.
  void give_up_place(Session& session);
  // A copy that is parked from its beginning. `from` stands in a slot, or is parked.
  Session& copy_to_place(const Session& from, std::int32_t place, SessionId id);
  void restore(Session& session, std::int32_t slot);

  // ---- Snapshots. Places for these are none of the table's, and free where something goes there.
  void copy_aside(const Session& from, std::int32_t place);  // `from` may be parked; the copy is no session
  // One that stands as a snapshot has it, which is in a place. It stays there.
  Session& take_up(std::int32_t slot, SessionId id, const Snapshot& snapshot, std::int32_t place);
  void operate(SlotOperation operation);  // which is no session's

  // Whether the ring still has all that the session's token at `length` will attend to, as it should be.
  bool can_roll_back(const Session& session, std::int64_t length) const;

  SessionOperations take_operations();

  Session* find(SessionId id) const;
  // None if it has ended, or stands elsewhere.
  Session* find(std::int32_t slot, std::uint64_t number) const;
  Session* find_number(std::uint64_t number) const;  // wherever it stands
  Session* in_slot(std::int32_t slot) const { return slots_[static_cast<std::size_t>(slot)].get(); }
  std::int32_t num_slots() const { return static_cast<std::int32_t>(slots_.size()); }
  std::optional<std::int32_t> free_slot() const;
  std::int32_t free_slots() const;
  std::optional<std::int32_t> free_place() const;
  std::int32_t free_places() const { return static_cast<std::int32_t>(free_places_.size()); }
  std::int32_t usable_places() const { return usable_places_; }
  std::int32_t parked() const { return parked_; }
  // By slot, beginning with `first`. A session may be closed meanwhile, also the present one.
  void for_each(const std::function<void(Session&)>& visit, std::int32_t first = 0) const;
  std::size_t kept() const { return by_id_.size(); }  // sessions that outlive their turns
  // Those, in slots and parked, in no order. The present one may be closed meanwhile.
  void for_each_kept(const std::function<void(Session&)>& visit) const;

 private:
  std::unique_ptr<Session>& slot(std::int32_t index) { return slots_[static_cast<std::size_t>(index)]; }
  std::unique_ptr<Session>& place(std::int32_t index) { return places_[static_cast<std::size_t>(index)]; }
  Session& settle(std::unique_ptr<Session>& where, SessionId id);  // a new one there
  static void become_copy(const Session& from, Session& copy);
  void operate(const Session& session, SlotOperation operation);

  const SessionShape shape_;
  std::vector<std::unique_ptr<Session>> slots_;   // by slot; empty: free
  std::vector<std::unique_ptr<Session>> places_;  // who is parked there
  std::set<std::int32_t> free_places_;
  std::int32_t usable_places_;
  std::int32_t parked_ = 0;
  std::unordered_map<SessionId, Session*> by_id_;  // those that have one
  SessionOperations next_;
  std::uint64_t next_number_ = 1;
};

}  // namespace sinkstream
