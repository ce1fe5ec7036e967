// What the store knows of each session without asking the disk.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/store/database.h"
#include "coordinator/store/token_rows.h"

namespace sinkstream {

struct IndexedSession {
  std::int64_t number = 0;  // in the tables
  Extent extent;
  bool extent_sound = true;  // false: there may have been more tokens
};

class SessionIndex {
 public:
  // Reads it from the tables; what is damaged gets a warning in the log.
  explicit SessionIndex(Database& database);

  bool has(const std::string& id) const { return sessions_.contains(id); }
  const IndexedSession& at(const std::string& id) const;  // throws std::logic_error: there is none
  std::vector<std::string> ids() const;                   // the oldest first

  IndexedSession& change(const std::string& id);  // as `at`
  IndexedSession& add(const std::string& id);
  void remove(const std::string& id);

  void commit() { before_.clear(); }
  void rollback();  // what it was at the last commit

 private:
  struct StoredExtent {
    Extent extent;
    std::int64_t crc;
  };
  void read_sessions(Database& database);
  void read_extents(Database& database, std::map<std::int64_t, StoredExtent>& extents);
  void join(Database& database, std::map<std::int64_t, StoredExtent> extents);
  void remember(const std::string& id);

  std::map<std::string, IndexedSession> sessions_;
  std::map<std::string, std::optional<IndexedSession>> before_;  // what has changed since the last commit
  std::int64_t last_number_ = 0;
};

std::int64_t extent_checksum(const std::string& id, const Extent& extent);
std::int64_t head_checksum(std::string_view id, std::string_view head, std::int64_t last_used_at);

}  // namespace sinkstream
