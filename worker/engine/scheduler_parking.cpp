// Who gives up a slot to whom, and what becomes of it. Saving takes two plans: only when a session was saved
// on every rank is its slot given away, so that nothing is lost where there is no memory.
#include <algorithm>
#include <functional>
#include <variant>
#include <vector>

#include "worker/engine/scheduler.h"

namespace sinkstream {

// One slot at least is not for sessions that rest: what waits is served, if by turns.
std::int32_t Scheduler::most_sessions() const {
  return std::max(1, limits_.num_slots + table_.usable_places() - 1);
}

std::int32_t Scheduler::slots_to_be_had() const {
  std::int32_t resting = 0;
  table_.for_each([&](const Session& session) { resting += session.can_be_parked() ? 1 : 0; });
  return free_slots() + std::min(resting, table_.free_places());
}

bool Scheduler::can_make_room() const {
  return slots_to_be_had() > free_slots();
}

// The next turn of one that has its slot still, unless somebody came before who could have that slot.
bool Scheduler::goes_on_at_once(const Session* session) const {
  return session && session->slot && (waiting() == 0 || table_.free_places() == 0);
}

bool Scheduler::stands_in_slot(const Choices& choices) const {
  const Session* const session = table_.find(choices.request->command.session);
  return session && session->slot && !session->place;
}

// Sessions that rest give up their slots to whoever waits for one, the least recently used first. One whose
// own next turn waits does so only for those that came before, the last to come first.
void Scheduler::make_room() {
  if (waiting() == 0) return;
  std::vector<Session*> resting;
  table_.for_each([&](Session& session) {
    if (session.can_be_parked() && !is_waiting(session.id)) resting.push_back(&session);
  });
  std::ranges::sort(resting, std::greater(), &Session::last_use);
  // Of the queue: who gives up a slot comes after those that it is for, `first` at the earliest.
  std::size_t last = waiting_.size();
  const auto next_to_leave = [&](std::size_t first) -> Session* {
    if (!resting.empty()) {
      Session* const session = resting.back();
      resting.pop_back();
      return session;
    }
    while (last > first) {
      Session* const session = table_.find(waiting_[--last].request->command.session);
      if (session && session->can_be_parked()) return session;
    }
    return nullptr;
  };
  const auto park_for = [&](std::int32_t slots, std::size_t first) {
    for (; slots > 0; --slots) {
      const auto place = table_.free_place();
      Session* const session = place ? next_to_leave(first) : nullptr;
      if (!session) return;
      table_.save(*session, *place);
    }
  };
  table_.for_each([&](const Session& session) {
    if (session.input_left() == 0) park_for(session.branches.count - 1, 0);
  });
  for (std::size_t i = 0; i < waiting_.size(); ++i) {
    const Choices& choices = waiting_[i];
    if (!stands_in_slot(choices) && !waits_for_snapshot(choices))
      park_for(choices.share_prefill() ? 1 : choices.count, i + 1);
  }
  if (table_.free_place()) return;
  go_on_where_they_stand();
  ask_for_slot();
}

// Whoever cannot be parked keeps nobody waiting by going on.
void Scheduler::go_on_where_they_stand() {
  std::vector<Choices> turns;
  std::erase_if(waiting_, [&](const Choices& choices) {
    const bool stands = stands_in_slot(choices);
    if (stands) turns.push_back(choices);
    return stands;
  });
  for (Choices& turn : turns) start(std::move(turn));
}

// Of those that rest in all slots, the least recently used that was not asked yet.
void Scheduler::ask_for_slot() {
  if (waiting_.empty() || table_.free_slot()) return;
  Session* first = nullptr;
  bool all_rest = true;
  table_.for_each([&](Session& session) {
    all_rest = all_rest && session.can_be_parked();
    if (!session.slot_wanted && (!first || session.last_use < first->last_use)) first = &session;
  });
  if (!all_rest || !first) return;
  first->slot_wanted = true;
  tell_(SlotWanted{.request = 0, .session = first->id});
}

// What the newest step saved is saved everywhere.
void Scheduler::settle_saves(const Launched& step) {
  const auto& operations = step.plan.operations;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const auto* const save = std::get_if<SaveSlot>(&operations[i]);
    if (!save) continue;
    Session* const session = table_.find(save->slot, step.operation_sessions[i]);
    if (!session || session->place != save->place) continue;
    table_.leave_slot(*session);
    ++parks_;
  }
}

// In a slot, else parked; none where there is neither.
Session* Scheduler::copy_of(const Session& from, SessionId id) {
  const auto slot = table_.free_slot();
  const auto place = table_.free_place();
  if (!slot && !place) return nullptr;
  Session& copy = slot ? table_.copy(from, *slot, id) : table_.copy_to_place(from, *place, id);
  parks_ += slot ? 0 : 1;
  copy.last_use = ++uses_;
  return &copy;
}

}  // namespace sinkstream
