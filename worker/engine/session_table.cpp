#include "worker/engine/session_table.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace sinkstream {

SessionTable::SessionTable(const SessionShape& shape, std::int32_t num_slots, std::int32_t num_places)
    : shape_(shape),
      slots_(static_cast<std::size_t>(num_slots)),
      places_(static_cast<std::size_t>(num_places)),
      usable_places_(num_places) {
  for (std::int32_t place = 0; place < num_places; ++place) free_places_.insert(place);
}

Session& SessionTable::open(std::int32_t slot, SessionId id, const CacheWindow& window) {
  Session& session = settle(this->slot(slot), id);
  session.slot = slot;
  session.window = window;
  operate(session, OpenSlot{slot, window});
  return session;
}

Session& SessionTable::copy(const Session& from, std::int32_t slot, SessionId id) {
  Session& session = settle(this->slot(slot), id);
  session.slot = slot;
  become_copy(from, session);
  if (!from.place) {
    operate(session, CopySlot{slot, *from.slot});
    return session;
  }
  operate(session, RestoreSlot{slot, *from.place});
  if (from.planned < from.saved) operate(session, RollBackSlot{slot, from.planned});
  return session;
}

void SessionTable::begin_turn(const Session& session, SamplingParams sampling) {
  operate(session, BeginTurn{*session.slot, std::move(sampling)});
}

// Nothing of it is under way.
void SessionTable::skip(Session& session, std::int64_t position) {
  session.planned = session.seen = session.written = position;
  operate(session, SkipSlot{*session.slot, position});
}

bool SessionTable::can_roll_back(const Session& session, std::int64_t length) const {
  const bool is_sound = length >= session.sound_from || length == session.planned;
  return is_sound && length <= session.planned &&
         sinkstream::can_roll_back(std::max(session.written, session.planned), length, session.window,
                                   shape_.ring_capacity);
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
  // One that is parked goes back when it is restored.
  if (is_further && session.slot) operate(session, RollBackSlot{*session.slot, length});
}

void SessionTable::close(Session& session) {
  const auto slot = session.slot;
  const auto place = session.place;
  by_id_.erase(session.id);
  if (place) {
    operate(session, DropSaved{*place});
    free_places_.insert(*place);
  }
  if (slot) {
    operate(session, CloseSlot{*slot});
    this->slot(*slot).reset();
  } else {
    this->place(*place).reset();
    --parked_;
  }
}

// ---- Parking

void SessionTable::save(Session& session, std::int32_t place) {
  session.place = place;
  free_places_.erase(place);
  operate(session, SaveSlot{*session.slot, place});
}

void SessionTable::leave_slot(Session& session) {
  operate(session, LeaveSlot{*session.slot});
  const std::int32_t slot = *std::exchange(session.slot, std::nullopt);
  session.saved = session.planned;
  place(*session.place) = std::move(this->slot(slot));
  ++parked_;
}

void SessionTable::give_up_place(Session& session) {
  operate(session, DropSaved{*session.place});
  session.place.reset();
  --usable_places_;
}

Session& SessionTable::copy_to_place(const Session& from, std::int32_t place, SessionId id) {
  Session& session = settle(this->place(place), id);
  free_places_.erase(place);
  ++parked_;
  become_copy(from, session);
  session.place = place;
  session.saved = from.place ? from.saved : from.planned;
  if (from.place) {
    operate(session, CopySaved{place, *from.place});
  } else {
    operate(session, SaveSlot{*from.slot, place});
  }
  return session;
}

void SessionTable::restore(Session& session, std::int32_t slot) {
  const std::int32_t place = *std::exchange(session.place, std::nullopt);
  session.slot = slot;
  operate(session, RestoreSlot{slot, place});
  operate(session, DropSaved{place});
  if (session.planned < session.saved) operate(session, RollBackSlot{slot, session.planned});
  this->slot(slot) = std::move(this->place(place));
  free_places_.insert(place);
  --parked_;
}

// ---- Snapshots

void SessionTable::copy_aside(const Session& from, std::int32_t place) {
  if (from.place && !from.slot) return operate(CopySaved{place, *from.place});
  operate(SaveSlot{*from.slot, place});
}

Session& SessionTable::take_up(std::int32_t slot, SessionId id, const Snapshot& snapshot,
                               std::int32_t place) {
  Session& session = settle(this->slot(slot), id);
  session.slot = slot;
  session.window = snapshot.window;
  session.planned = session.seen = snapshot.seen;
  session.written = snapshot.written;
  session.sound_from = snapshot.sound_from;
  operate(session, RestoreSlot{slot, place});
  return session;
}

void SessionTable::operate(SlotOperation operation) {
  constexpr std::uint64_t kNobody = 0;
  next_.operations.push_back(std::move(operation));
  next_.sessions.push_back(kNobody);
}

// ---- Who is where

SessionOperations SessionTable::take_operations() {
  return std::exchange(next_, {});
}

Session* SessionTable::find(SessionId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

Session* SessionTable::find(std::int32_t slot, std::uint64_t number) const {
  Session* const session = in_slot(slot);
  return session && session->number == number ? session : nullptr;
}

Session* SessionTable::find_number(std::uint64_t number) const {
  const auto is_it = [&](const auto& session) { return session && session->number == number; };
  const auto in_slot = std::ranges::find_if(slots_, is_it);
  if (in_slot != slots_.end()) return in_slot->get();
  const auto parked = std::ranges::find_if(places_, is_it);
  return parked == places_.end() ? nullptr : parked->get();
}

std::optional<std::int32_t> SessionTable::free_slot() const {
  const auto it = std::find(slots_.begin(), slots_.end(), nullptr);
  if (it == slots_.end()) return std::nullopt;
  return static_cast<std::int32_t>(it - slots_.begin());
}

std::int32_t SessionTable::free_slots() const {
  return static_cast<std::int32_t>(std::count(slots_.begin(), slots_.end(), nullptr));
}

// The first: those that have their memory already are taken again.
std::optional<std::int32_t> SessionTable::free_place() const {
  return free_places_.empty() ? std::nullopt : std::optional(*free_places_.begin());
}

void SessionTable::for_each(const std::function<void(Session&)>& visit, std::int32_t first) const {
  for (std::int32_t i = 0; i < num_slots(); ++i) {
    if (Session* const session = in_slot((first + i) % num_slots())) visit(*session);
  }
}

void SessionTable::for_each_kept(const std::function<void(Session&)>& visit) const {
  for (auto next = by_id_.begin(); next != by_id_.end();) visit(*(next++)->second);
}

Session& SessionTable::settle(std::unique_ptr<Session>& where, SessionId id) {
  if (where) throw std::logic_error("SessionTable: somebody is there");
  where = std::make_unique<Session>();
  where->id = id;
  if (id != kNoSession) by_id_.emplace(id, where.get());
  where->number = next_number_++;
  where->began = std::chrono::steady_clock::now();
  return *where;
}

void SessionTable::become_copy(const Session& from, Session& copy) {
  copy.window = from.window;
  // What is in plans is there when the copy is made: operations and rows keep their order.
  copy.planned = copy.seen = from.planned;
  copy.written = std::max(from.written, from.planned);
  copy.sound_from = from.sound_from;
  copy.past = from.past;
  copy.pending = from.pending;
}

void SessionTable::operate(const Session& session, SlotOperation operation) {
  next_.operations.push_back(std::move(operation));
  next_.sessions.push_back(session.number);
}

}  // namespace sinkstream
