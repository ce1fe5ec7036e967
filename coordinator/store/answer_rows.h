// The rows that say where the answers stand among sessions' tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coordinator/store/database.h"
#include "coordinator/store/session_store.h"
#include "coordinator/store/token_rows.h"

namespace sinkstream {

// Throws StoreFailure.
class AnswerRows {
 public:
  explicit AnswerRows(Database& database);

  std::vector<StoredAnswer> read(const RowOwner& owner);  // what is damaged is left out, and the log says so
  void put(const RowOwner& owner, std::span<const StoredAnswer> answers);
  void erase_behind(const RowOwner& owner, std::int64_t end);   // those that end behind it
  void erase_until(const RowOwner& owner, std::int64_t begin);  // those that end there or before
  void erase(const RowOwner& owner);

 private:
  Statement select_;
  Statement insert_;
  Statement delete_behind_;
  Statement delete_until_;
  Statement delete_;
};

}  // namespace sinkstream
