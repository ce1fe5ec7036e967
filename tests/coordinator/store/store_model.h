// What a store should hold after so many commits, whose changes follow from their numbers.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "coordinator/store/session_store.h"

namespace sinkstream {

class StoreModel {
 public:
  struct Session {
    std::string head;
    std::int64_t last_used_at = 0;
    std::vector<TokenId> tokens;
    std::int64_t pruned = 0;  // tokens before this one may be gone
  };

  // The next commit, of changes to several sessions, here and in the store.
  void commit(SessionStore& store);
  void replay_to(std::int64_t commits);  // here only
  std::int64_t commits() const { return commits_; }
  const std::map<std::string, Session>& sessions() const { return sessions_; }

  // How many commits a store holds says one of its heads.
  static std::int64_t commits_in(SessionStore& store);
  // The store holds all of it and nothing else, and reports no damage.
  void expect_equal(SessionStore& store) const;
  // Whatever it says is there was written, and whatever it does not say is missing is there. Sessions that
  // are not listed are counted.
  int expect_honest(SessionStore& store) const;

 private:
  void next_commit(SessionStore* store);
  void change(std::mt19937& random, SessionStore* store);

  std::int64_t commits_ = 0;
  std::map<std::string, Session> sessions_;
};

}  // namespace sinkstream
