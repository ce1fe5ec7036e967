#include "worker/engine/session_table.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace sinkstream {

SessionTable::SessionTable(const SessionShape& shape, std::int32_t num_slots)
    : shape_(shape), slots_(static_cast<std::size_t>(num_slots)) {}

Session& SessionTable::open(std::int32_t slot, SessionId id, const CacheWindow& window) {
  Session& session = place(slot);
  session.id = id;
  session.window = window;
  operate(session, OpenSlot{slot, window});
  return session;
}

Session& SessionTable::copy(const Session& from, std::int32_t slot, SessionId id) {
  Session& session = place(slot);
  session.id = id;
  session.window = from.window;
  // What is in plans is there when the copy is made: operations and rows keep their order.
  session.planned = session.seen = from.planned;
  session.written = std::max(from.written, from.planned);
  session.pending = from.pending;
  operate(session, CopySlot{slot, from.slot});
  return session;
}

void SessionTable::begin_turn(const Session& session, SamplingParams sampling) {
  operate(session, BeginTurn{session.slot, std::move(sampling)});
}

bool SessionTable::can_roll_back(const Session& session, std::int64_t length) const {
  return length <= session.planned && sinkstream::can_roll_back(std::max(session.written, session.planned),
                                                                length, session.window, shape_.ring_capacity);
}

void SessionTable::roll_back(Session& session, std::int64_t length) {
  if (!can_roll_back(session, length)) {
    throw std::logic_error("SessionTable: a session cannot go back so far");
  }
  const bool is_further = length < session.planned;
  if (is_further) {
    session.written =
        written_after_roll_back(std::max(session.written, session.planned), length, session.window);
  }
  session.planned = session.seen = length;
  // What is under way for it is no longer its; what the next step does to its slot still is.
  const std::uint64_t before = std::exchange(session.number, next_number_++);
  std::replace(next_.sessions.begin(), next_.sessions.end(), before, session.number);
  if (is_further) operate(session, RollBackSlot{session.slot, length});
}

void SessionTable::close(Session& session) {
  operate(session, CloseSlot{session.slot});
  slots_[static_cast<std::size_t>(session.slot)].reset();
}

SessionOperations SessionTable::take_operations() {
  return std::exchange(next_, {});
}

Session* SessionTable::find(SessionId id) const {
  const auto it = std::find_if(slots_.begin(), slots_.end(),
                               [&](const auto& session) { return session && session->id == id; });
  return id == kNoSession || it == slots_.end() ? nullptr : it->get();
}

Session* SessionTable::find(std::int32_t slot, std::uint64_t number) const {
  Session* const session = in_slot(slot);
  return session && session->number == number ? session : nullptr;
}

std::optional<std::int32_t> SessionTable::free_slot() const {
  const auto it = std::find(slots_.begin(), slots_.end(), nullptr);
  if (it == slots_.end()) return std::nullopt;
  return static_cast<std::int32_t>(it - slots_.begin());
}

std::int32_t SessionTable::free_slots() const {
  return static_cast<std::int32_t>(std::count(slots_.begin(), slots_.end(), nullptr));
}

void SessionTable::for_each(const std::function<void(Session&)>& visit, std::int32_t first) const {
  for (std::int32_t i = 0; i < num_slots(); ++i) {
    if (Session* const session = in_slot((first + i) % num_slots())) visit(*session);
  }
}

Session& SessionTable::place(std::int32_t slot) {
  auto& place = slots_[static_cast<std::size_t>(slot)];
  if (place) throw std::logic_error("SessionTable: the slot is taken");
  place = std::make_unique<Session>();
  place->number = next_number_++;
  place->slot = slot;
  place->began = std::chrono::steady_clock::now();
  return *place;
}

void SessionTable::operate(const Session& session, SlotOperation operation) {
  next_.operations.push_back(std::move(operation));
  next_.sessions.push_back(session.number);
}

}  // namespace sinkstream
