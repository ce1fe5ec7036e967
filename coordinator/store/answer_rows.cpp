#include "coordinator/store/answer_rows.h"

#include <spdlog/spdlog.h>

#include "coordinator/store/row_checksum.h"

namespace sinkstream {

namespace {

std::int64_t checksum(const RowOwner& owner, const StoredAnswer& answer) {
  return row_checksum("answers", owner.id, answer.begin, answer.end);
}

}  // namespace

// Each answer ends before the next begins: those that end behind a position are the last ones.
AnswerRows::AnswerRows(Database& database)
    : select_(database, "SELECT first, last, crc FROM answers WHERE session = ?1 ORDER BY first"),
      // A damaged file can hold a row that was lost and came back.
      insert_(database, "INSERT OR REPLACE INTO answers VALUES(?1, ?2, ?3, ?4)"),
      delete_behind_(database,
                     "DELETE FROM answers WHERE session = ?1 AND first >= coalesce((SELECT max(first) FROM "
                     "answers WHERE session = ?1 AND first < ?2), ?2) AND last > ?2"),
      delete_until_(database, "DELETE FROM answers WHERE session = ?1 AND first < ?2 AND last <= ?2"),
      delete_(database, "DELETE FROM answers WHERE session = ?1") {}

std::vector<StoredAnswer> AnswerRows::read(const RowOwner& owner) {
  std::vector<StoredAnswer> answers;
  try {
    Query rows = select_.query(owner.number);
    while (rows.next()) {
      const StoredAnswer answer{rows.integer(0), rows.integer(1)};
      if (rows.integer(2) == checksum(owner, answer)) {
        answers.push_back(answer);
      } else {
        spdlog::warn("sessions: {}: where an answer stands is lost: the file is damaged", owner.id);
      }
    }
  } catch (const StoreFailure& failure) {
    if (failure.fault() != StoreFault::damaged) throw;
    spdlog::warn("sessions: {}: where its answers stand is lost: {}", owner.id, failure.what());
  }
  return answers;
}

void AnswerRows::put(const RowOwner& owner, std::span<const StoredAnswer> answers) {
  for (const StoredAnswer& answer : answers) {
    insert_.run(owner.number, answer.begin, answer.end, checksum(owner, answer));
  }
}

void AnswerRows::erase_behind(const RowOwner& owner, std::int64_t end) {
  delete_behind_.run(owner.number, end);
}

void AnswerRows::erase_until(const RowOwner& owner, std::int64_t begin) {
  delete_until_.run(owner.number, begin);
}

void AnswerRows::erase(const RowOwner& owner) {
  delete_.run(owner.number);
}

}  // namespace sinkstream
