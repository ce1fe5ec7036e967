#include "tests/coordinator/store/store_model.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sinkstream {

namespace {

constexpr int kSessions = 6;
const std::string kCounter = "sess_counter";

std::string session_id(std::uint_fast32_t i) {
  return "sess_" + std::to_string(i % kSessions);
}

void expect_tokens(const StoreModel::Session& session, SessionStore& store, const std::string& id,
                   std::int64_t from, std::int64_t to) {
  const StoredTokens read = store.tokens(id, from, to);
  const auto size = static_cast<std::int64_t>(session.tokens.size());
  const auto count = static_cast<std::int64_t>(read.tokens.size());
  ASSERT_GE(read.begin, 0);
  ASSERT_LE(read.begin + count, size);
  EXPECT_TRUE(std::equal(read.tokens.begin(), read.tokens.end(), session.tokens.begin() + read.begin))
      << "wrong tokens in [" << read.begin << ", " << read.begin + count << ")";
  if (!read.damaged_from) {
    EXPECT_EQ(std::min(to, size), read.begin + count) << "tokens are missing";
    EXPECT_LE(read.begin, std::max(from, session.pruned));
  } else {
    EXPECT_LE(*read.damaged_from, read.begin + count);
  }
}

}  // namespace

void StoreModel::commit(SessionStore& store) {
  store.begin();
  next_commit(&store);
  store.commit();
}

void StoreModel::replay_to(std::int64_t commits) {
  while (commits_ < commits) next_commit(nullptr);
}

void StoreModel::next_commit(SessionStore* store) {
  std::mt19937 random(static_cast<unsigned>(++commits_));
  for (int i = 0; i < 3; ++i) change(random, store);
  sessions_[kCounter].head = std::to_string(commits_);
  if (store != nullptr) store->put(kCounter, std::to_string(commits_), 0);
}

void StoreModel::change(std::mt19937& random, SessionStore* store) {
  const std::string id = session_id(random());
  const auto what = random() % 32;
  const bool is_new = !sessions_.contains(id);
  Session& session = sessions_[id];
  const auto size = static_cast<std::int64_t>(session.tokens.size());
  if (is_new || what == 0) {
    session.head = "head " + std::to_string(random());
    session.last_used_at = commits_;
    if (store != nullptr) store->put(id, session.head, session.last_used_at);
  } else if (what == 1) {
    if (store != nullptr) store->remove(id);
    sessions_.erase(id);
  } else if (what <= 3) {
    const auto end = std::max<std::int64_t>(session.pruned, size - random() % 40);
    session.tokens.resize(end);
    if (store != nullptr) store->truncate(id, end);
  } else if (what <= 5) {
    const auto from = size - static_cast<std::int64_t>(random() % 60);
    if (store != nullptr) store->merge(id, from);
  } else if (what == 6) {
    session.pruned = std::max(session.pruned, size - 100);
    if (store != nullptr) store->prune(id, session.pruned, 4);
  } else if (what == 7) {
    const std::string other = session_id(random());
    if (other == id || !sessions_.contains(other)) return;
    sessions_[other].tokens = session.tokens;
    sessions_[other].pruned = session.pruned;
    if (store != nullptr) store->copy(id, other, size);
  } else {
    const std::size_t count = what == 8 ? 1 + random() % 6'000 : 1;
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random() >> 1);
    session.tokens.insert(session.tokens.end(), tokens.begin(), tokens.end());
    if (store != nullptr) store->append(id, size, tokens);
  }
}

std::int64_t StoreModel::commits_in(SessionStore& store) {
  for (const StoredSession& session : store.list()) {
    if (session.id == kCounter) return std::stoll(session.head);
  }
  return 0;
}

void StoreModel::expect_equal(SessionStore& store) const {
  EXPECT_EQ(0, expect_honest(store));
  for (const auto& [id, session] : sessions_) {
    EXPECT_FALSE(store.tokens(id, 0, 1'000'000'000).damaged_from) << id;
  }
}

int StoreModel::expect_honest(SessionStore& store) const {
  int listed = 0;
  for (const StoredSession& stored : store.list()) {
    if (!stored.sound) continue;
    SCOPED_TRACE(stored.id + " of commit " + std::to_string(commits_));
    const auto found = sessions_.find(stored.id);
    if (found == sessions_.end()) {
      ADD_FAILURE() << "there is no such session";
      continue;
    }
    ++listed;
    const auto& [id, session] = *found;
    EXPECT_EQ(session.head, stored.head);
    EXPECT_EQ(session.last_used_at, stored.last_used_at);
    const auto size = static_cast<std::int64_t>(session.tokens.size());
    EXPECT_TRUE(size == stored.tokens || store.tokens(id, 0, size + 1).damaged_from);
    expect_tokens(session, store, id, 0, size + 1);
    expect_tokens(session, store, id, std::max<std::int64_t>(session.pruned, size - 50), size);
    expect_tokens(session, store, id, 0, std::min<std::int64_t>(size, 4));
  }
  return static_cast<int>(sessions_.size()) - listed;
}

}  // namespace sinkstream
