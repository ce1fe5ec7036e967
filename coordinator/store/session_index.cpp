#include "coordinator/store/session_index.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "coordinator/store/row_checksum.h"
#include "coordinator/store/store_format.h"

namespace sinkstream {

namespace {

// Visits each row. Where the table is damaged in its middle, it goes on from the other end: what lies between
// is lost.
template <typename Visit>
void visit_all(Database& database, const std::string& select, const std::string& key, const Visit& visit) {
  for (const char* order : {" ASC", " DESC"}) {
    try {
      Statement statement(database, (select + " ORDER BY " + key + order).c_str());
      Query rows = statement.query();
      while (rows.next()) visit(rows);
      return;
    } catch (const StoreFailure& failure) {
      if (failure.fault() != StoreFault::damaged) throw;
      spdlog::warn("sessions: some may be lost: {}", failure.what());
    }
  }
}

}  // namespace

std::int64_t extent_checksum(const std::string& id, const Extent& extent) {
  return row_checksum("extents", std::string_view(id), extent.end, extent.pruned_begin, extent.pruned_end);
}

std::int64_t head_checksum(std::string_view id, std::string_view head, std::int64_t last_used_at) {
  return row_checksum("sessions", id, head, last_used_at);
}

SessionIndex::SessionIndex(Database& database) {
  std::map<std::int64_t, StoredExtent> extents;
  read_sessions(database);
  read_extents(database, extents);
  join(database, std::move(extents));
  // A number is not given again as long as there may be rows of it.
  std::vector<std::string> tables = {"tokens"};
  if (has_answers(database)) tables.emplace_back("answers");
  for (const std::string& table : tables) {
    try {
      last_number_ = std::max(last_number_, database.number(("SELECT max(session) FROM " + table).c_str()));
    } catch (const StoreFailure& failure) {
      if (failure.fault() != StoreFault::damaged) throw;
    }
  }
}

void SessionIndex::read_sessions(Database& database) {
  std::map<std::string, bool> sound;
  visit_all(database, "SELECT session, id, head, last_used_at, crc FROM sessions", "session",
            [&](const Query& row) {
              const std::int64_t number = row.integer(0);
              const std::string id(row.bytes(1));
              last_number_ = std::max(last_number_, number);
              const bool is_sound = row.integer(4) == head_checksum(id, row.bytes(2), row.integer(3));
              // A flipped bit can give a session the id of another, which stays the other's.
              if (sessions_.contains(id) && (sound[id] || !is_sound)) return;
              sessions_[id] = {.number = number};
              sound[id] = is_sound;
            });
}

void SessionIndex::read_extents(Database& database, std::map<std::int64_t, StoredExtent>& extents) {
  visit_all(database, "SELECT session, last, pruned_begin, pruned_end, crc FROM extents", "session",
            [&](const Query& row) {
              const std::int64_t number = row.integer(0);
              last_number_ = std::max(last_number_, number);
              extents[number] = {{row.integer(1), row.integer(2), row.integer(3)}, row.integer(4)};
            });
}

void SessionIndex::join(Database& database, std::map<std::int64_t, StoredExtent> extents) {
  TokenRows rows(database);
  for (auto& [id, session] : sessions_) {
    const auto found = extents.find(session.number);
    session.extent_sound =
        found != extents.end() && found->second.crc == extent_checksum(id, found->second.extent);
    if (session.extent_sound) {
      session.extent = found->second.extent;
    } else {
      session.extent = rows.extent({session.number, id});
      spdlog::warn("sessions: {}: the file is damaged; of its tokens those up to {} are sound", id,
                   session.extent.end);
    }
    if (found != extents.end()) extents.erase(found);
  }
  for (const auto& [number, extent] : extents) {
    spdlog::warn("sessions: a session of {} tokens is lost: the file is damaged (its number there is {})",
                 extent.extent.end, number);
  }
}

const IndexedSession& SessionIndex::at(const std::string& id) const {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) throw std::logic_error("the session store has no session " + id);
  return found->second;
}

std::vector<std::string> SessionIndex::ids() const {
  std::vector<std::pair<std::int64_t, std::string>> numbered;
  for (const auto& [id, session] : sessions_) numbered.emplace_back(session.number, id);
  std::sort(numbered.begin(), numbered.end());
  std::vector<std::string> ids;
  for (auto& [number, id] : numbered) ids.push_back(std::move(id));
  return ids;
}

IndexedSession& SessionIndex::change(const std::string& id) {
  at(id);
  remember(id);
  return sessions_.at(id);
}

IndexedSession& SessionIndex::add(const std::string& id) {
  remember(id);
  return sessions_[id] = {.number = ++last_number_};
}

void SessionIndex::remove(const std::string& id) {
  remember(id);
  sessions_.erase(id);
}

void SessionIndex::remember(const std::string& id) {
  if (before_.contains(id)) return;
  const auto found = sessions_.find(id);
  before_.emplace(id, found == sessions_.end() ? std::nullopt : std::optional(found->second));
}

void SessionIndex::rollback() {
  for (const auto& [id, session] : before_) {
    if (session) {
      sessions_[id] = *session;
    } else {
      sessions_.erase(id);
    }
  }
  before_.clear();
}

}  // namespace sinkstream
