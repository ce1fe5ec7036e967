// The answers that are kept for retries, of all requests that change a session.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "coordinator/api/retries/asked.h"
#include "coordinator/api/retries/recorded_answer.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/executor.h"
#include "coordinator/http/router.h"

namespace sinkstream {

class Journal;

struct RecordSettings {
  double replay_seconds = 0;  // an answer is kept so long when it is whole
  double retry_seconds = 0;   // what nobody reads goes on for so long
  // Of all answers, and of what their requests are known by, which stays for its time.
  std::int64_t max_bytes = 0;
};

// The I/O thread only.
class AnswerRecords : public std::enable_shared_from_this<AnswerRecords> {
 public:
  // `journal`: where keys outlive this process; null: they don't.
  AnswerRecords(std::weak_ptr<Executor> executor, const RecordSettings& settings, Journal* journal = nullptr);
  void take_up();  // the keys that stand in the journal; before the first request

  // Answers a retry from its record. Any other request is given to `handler`, off the I/O thread, and its
  // answer is recorded if a retry of it could be known again; where there is no room for that, one with an
  // Idempotency-Key is refused (429). A turn that nobody reads any more and that another request of its
  // session finds under way is ended first.
  void answer(const Asked& asked, const std::shared_ptr<Exchange>& exchange, Handler handler);

  // The session's turns so far may come again: it is being rolled back, as its present turn. Answers to an
  // Idempotency-Key stay.
  void forget_turns(const std::string& session);

  // Of all requests that it knows, and what they take in memory.
  std::size_t size() const { return running_.size() + ended_.size(); }
  std::int64_t bytes() const { return bytes_; }
  std::int64_t num_replays() const { return num_replays_; }

 private:
  struct Record;
  using Records = std::list<Record>;
  struct Record {
    Asked asked;
    std::shared_ptr<RecordedAnswer> answer;  // null: it is not kept
    const char* why_gone = nullptr;
    Executor::TimePoint expires = Executor::TimePoint::max();
    std::int64_t bytes = 0;
    Records* list = nullptr;  // that it is in
  };
  using Place = Records::iterator;
  // The owner and what is looked up; views of what a record holds.
  using Name = std::pair<std::string_view, std::string_view>;
  using Names = std::map<Name, Place>;

  Place find(const Asked& asked);  // end of running_: it is no retry. Throws RequestError (409, 422).
  Place find_turn(const Asked& asked);
  RecordedAnswer* find_unread(const Asked& asked);
  void answer_after(RecordedAnswer& ending, const Asked& asked, const std::shared_ptr<Exchange>& exchange,
                    Handler handler);
  void run(const Asked& asked, const std::shared_ptr<Exchange>& exchange, Handler handler);
  Place add(const Asked& asked);

  std::int64_t expiry_from(std::int64_t unix_time) const;
  void write_key(const Asked& asked, std::int64_t expires_at);
  void remove_key(const Asked& asked);
  void take(Place place, RecordedAnswer::Change change);
  void wait_for_retry(Place place);
  void end(Place place);
  void forget_content(Place place, const char* why);
  void forget(Place place);  // its key, too: the same request is a new one
  void erase(Place place);
  bool is_named(Place place) const;  // found by its words
  void unname_turn(Place place);
  void measure(Place place);
  void stop_recording(Place place);
  bool has_room_for(const Asked& asked) const;
  RequestError no_room() const;
  void shrink();
  void expire();
  void arm();
  void add_ended(Place place);

  const std::weak_ptr<Executor> executor_;
  const RecordSettings settings_;
  Journal* const journal_;
  Records running_;                 // by age
  Records ended_;                   // by their end, so by their expiry; of some the answer is kept
  Place kept_from_ = ended_.end();  // none before it
  Names by_key_;
  Names by_turn_;
  std::int64_t bytes_ = 0;
  std::int64_t key_bytes_ = 0;  // of those, what is not the answers'
  std::int64_t num_replays_ = 0;
  Executor::TimePoint armed_for_ = Executor::TimePoint::max();
};

}  // namespace sinkstream
