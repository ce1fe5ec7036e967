#include "coordinator/store/session_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <stdexcept>

#include "tests/coordinator/store/store_testing.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class SessionStoreTest : public testing::Test {
 protected:
  void reopen() {
    store_.reset();
    store_ = std::make_unique<SessionStore>(settings(directory_.path()));
  }
  template <typename Change>
  void change(const Change& change) {
    store_->begin();
    change(*store_);
    store_->commit();
  }
  void put(const std::string& id, std::int64_t count) {
    change([&](SessionStore& store) {
      store.put(id, "head of " + id, 7);
      store.append(id, 0, some_tokens(0, count));
    });
  }
  // What is there of [from, to), which is sound.
  std::vector<TokenId> tokens(const std::string& id, std::int64_t from, std::int64_t to) {
    const StoredTokens read = store_->tokens(id, from, to);
    EXPECT_FALSE(read.damaged_from);
    return read.tokens;
  }
  std::int64_t rows() { return number_in(database_file(directory_.path()), "SELECT count(*) FROM tokens"); }

  TemporaryDirectory directory_{quick_place()};
  std::unique_ptr<SessionStore> store_ = std::make_unique<SessionStore>(settings(directory_.path()));
};

TEST_F(SessionStoreTest, KeepsWhatWasCommitted) {
  change([](SessionStore& store) {
    store.put("sess_b", std::string("\0head", 5), -3);
    store.put("sess_a", "", 9);
    store.append("sess_b", 0, some_tokens(0, 10'000));
    store.append("sess_b", 10'000, some_tokens(10'000, 10'001));
  });
  for (int opened = 0; opened < 2; ++opened, reopen()) {
    const auto sessions = store_->list();
    ASSERT_EQ(2u, sessions.size());
    EXPECT_EQ("sess_b", sessions[0].id);  // the oldest first
    EXPECT_EQ(std::string("\0head", 5), sessions[0].head);
    EXPECT_EQ(-3, sessions[0].last_used_at);
    EXPECT_EQ(10'001, sessions[0].tokens);
    EXPECT_EQ("", sessions[1].head);
    EXPECT_EQ(0, sessions[1].tokens);
    EXPECT_EQ(some_tokens(0, 10'001), tokens("sess_b", 0, 10'001));
    EXPECT_EQ(some_tokens(4'095, 4'097), tokens("sess_b", 4'095, 4'097));
    EXPECT_EQ(some_tokens(9'999, 10'001), tokens("sess_b", 9'999, 20'000));
    EXPECT_THAT(tokens("sess_b", 10'001, 10'010), IsEmpty());
    EXPECT_THAT(tokens("sess_a", 0, 10), IsEmpty());
    EXPECT_EQ(std::string("\0head", 5), store_->head("sess_b"));
  }
}

TEST_F(SessionStoreTest, PutReplacesTheHeadAndKeepsTheTokens) {
  put("sess_a", 5);
  change([](SessionStore& store) { store.put("sess_a", "another", 8); });
  reopen();
  EXPECT_EQ("another", store_->head("sess_a"));
  EXPECT_EQ(8, store_->list().at(0).last_used_at);
  EXPECT_EQ(some_tokens(0, 5), tokens("sess_a", 0, 5));
}

TEST_F(SessionStoreTest, RollbackUndoesEverything) {
  put("sess_a", 100);
  put("sess_b", 3);
  store_->begin();
  store_->put("sess_c", "head", 1);
  store_->append("sess_c", 0, some_tokens(0, 4));
  store_->truncate("sess_a", 10);
  store_->append("sess_a", 10, some_tokens(50, 60));
  store_->put("sess_a", "another", 9);
  store_->remove("sess_b");
  store_->rollback();
  for (int opened = 0; opened < 2; ++opened, reopen()) {
    EXPECT_EQ(2u, store_->list().size());
    EXPECT_EQ("head of sess_a", store_->head("sess_a"));
    EXPECT_EQ(some_tokens(0, 100), tokens("sess_a", 0, 100));
    EXPECT_EQ(some_tokens(0, 3), tokens("sess_b", 0, 3));
    EXPECT_THROW(store_->tokens("sess_c", 0, 1), std::logic_error);
  }
  change([](SessionStore& store) { store.append("sess_a", 100, some_tokens(100, 101)); });
  EXPECT_EQ(some_tokens(0, 101), tokens("sess_a", 0, 101));
  store_->rollback();  // nothing
}

TEST_F(SessionStoreTest, WhatMakesNoSense) {
  EXPECT_THROW(store_->put("sess_a", "", 0), std::logic_error);  // without begin()
  EXPECT_THROW(store_->commit(), std::logic_error);
  put("sess_a", 5);
  store_->begin();
  EXPECT_THROW(store_->begin(), std::logic_error);
  EXPECT_THROW(store_->sync(), std::logic_error);
  EXPECT_THROW(store_->append("sess_a", 4, some_tokens(0, 1)), std::logic_error);
  EXPECT_THROW(store_->append("sess_a", 6, some_tokens(0, 1)), std::logic_error);
  EXPECT_THROW(store_->append("sess_b", 0, some_tokens(0, 1)), std::logic_error);
  store_->put("sess_b", "", 0);
  EXPECT_THROW(store_->copy("sess_a", "sess_b", 6), std::logic_error);
}

TEST_F(SessionStoreTest, TruncateCutsTheRowThatSpansTheEnd) {
  put("sess_a", 10'000);
  for (const std::int64_t end : {9'000, 8'192, 8'191, 5'000, 1, 0}) {
    change([&](SessionStore& store) { store.truncate("sess_a", end); });
    EXPECT_EQ(some_tokens(0, end), tokens("sess_a", 0, 10'000));
    EXPECT_EQ(end, store_->list().at(0).tokens);
    EXPECT_EQ((end + 4'095) / 4'096, rows());
  }
  change([](SessionStore& store) { store.append("sess_a", 0, some_tokens(5, 9)); });
  reopen();
  EXPECT_EQ(some_tokens(5, 9), tokens("sess_a", 0, 10'000));
}

TEST_F(SessionStoreTest, MergeMakesFewRowsOfMany) {
  put("sess_a", 100);
  for (std::int64_t i = 100; i < 5'000; ++i) {
    if (i % 100 == 0) store_->begin();
    store_->append("sess_a", i, some_tokens(i, i + 1));
    if (i % 100 == 99) store_->commit();
  }
  EXPECT_EQ(4'901, rows());
  EXPECT_EQ(some_tokens(90, 4'990), tokens("sess_a", 90, 4'990));
  change([](SessionStore& store) { store.merge("sess_a", 4'997); });
  EXPECT_EQ(4'899, rows());
  change([](SessionStore& store) { store.merge("sess_a", 50); });  // not the row that begins before
  EXPECT_EQ(3, rows());
  change([](SessionStore& store) { store.merge("sess_a", 5'000); });
  EXPECT_EQ(3, rows());
  reopen();
  EXPECT_EQ(some_tokens(0, 5'000), tokens("sess_a", 0, 5'000));
}

TEST_F(SessionStoreTest, CopyMakesASessionOfItsOwn) {
  put("sess_a", 9'000);
  change([](SessionStore& store) {
    store.put("sess_b", "", 1);
    store.copy("sess_a", "sess_b", 5'000);
    store.append("sess_b", 5'000, some_tokens(0, 3));
    store.put("sess_c", "", 1);
    store.append("sess_c", 0, some_tokens(70, 80));
    store.copy("sess_a", "sess_c", 2);
    store.remove("sess_a");
  });
  reopen();
  EXPECT_EQ(some_tokens(0, 5'000), tokens("sess_b", 0, 5'000));
  EXPECT_EQ(some_tokens(0, 3), tokens("sess_b", 5'000, 5'010));
  EXPECT_EQ(some_tokens(0, 2), tokens("sess_c", 0, 10));
  EXPECT_EQ(2u, store_->list().size());
}

TEST_F(SessionStoreTest, PruneTakesWholeRowsBetweenSinksAndWindow) {
  put("sess_a", 20'000);  // rows begin at 0, 4096, 8192, 12288, 16384
  change([](SessionStore& store) { store.prune("sess_a", 12'287, 4); });
  for (int opened = 0; opened < 2; ++opened, reopen()) {
    EXPECT_EQ(4, rows());
    EXPECT_EQ(some_tokens(0, 4'096), tokens("sess_a", 0, 4'096));
    const StoredTokens newest = store_->tokens("sess_a", 0, 20'000);
    EXPECT_EQ(8'192, newest.begin);
    EXPECT_EQ(some_tokens(8'192, 20'000), newest.tokens);
    EXPECT_FALSE(newest.damaged_from);
    EXPECT_EQ(some_tokens(100, 4'096), tokens("sess_a", 100, 8'000));
    EXPECT_THAT(tokens("sess_a", 5'000, 8'000), IsEmpty());
    EXPECT_EQ(8'192, store_->tokens("sess_a", 5'000, 8'000).begin);
    EXPECT_EQ(9'000, store_->tokens("sess_a", 9'000, 5'000).begin);
    EXPECT_EQ(8'192, store_->tokens("sess_a", 5'000, 9'000).begin);
  }
  change([](SessionStore& store) {
    store.put("sess_b", "", 1);
    store.copy("sess_a", "sess_b", 9'000);
    store.prune("sess_a", 20'000, 4);
    store.append("sess_a", 20'000, some_tokens(20'000, 20'010));
  });
  EXPECT_EQ(8'192, store_->tokens("sess_b", 0, 9'000).begin);
  EXPECT_EQ(some_tokens(8'192, 9'000), tokens("sess_b", 0, 9'000));
  EXPECT_EQ(some_tokens(0, 4'096), tokens("sess_b", 0, 4'096));
  EXPECT_EQ(20'000, store_->tokens("sess_a", 0, 20'010).begin);
  EXPECT_EQ(some_tokens(20'000, 20'010), tokens("sess_a", 0, 20'010));
  change([](SessionStore& store) { store.truncate("sess_a", 4'000); });  // before what was pruned
  EXPECT_EQ(some_tokens(0, 4'000), tokens("sess_a", 0, 20'010));
}

TEST_F(SessionStoreTest, KeysExpire) {
  change([](SessionStore& store) {
    store.put_key("owner", "one", "what", 10);
    store.put_key("owner", "two", std::string("\0\1", 2), 20);
    store.put_key("another", "one", "", 30);
    store.put_key("owner", "one", "replaced", 15);
  });
  reopen();
  auto keys = store_->keys(14);
  ASSERT_EQ(3u, keys.size());
  EXPECT_EQ("another", keys[0].owner);
  EXPECT_EQ("", keys[0].what);
  EXPECT_EQ("replaced", keys[1].what);
  EXPECT_EQ(std::string("\0\1", 2), keys[2].what);
  keys = store_->keys(20);
  ASSERT_EQ(1u, keys.size());
  EXPECT_EQ(30, keys[0].expires_at);
  EXPECT_EQ(1, number_in(database_file(directory_.path()), "SELECT count(*) FROM keys"));
}

TEST_F(SessionStoreTest, KeysAreRemoved) {
  change([](SessionStore& store) {
    store.put_key("owner", "one", "what", 10);
    store.put_key("owner", "two", "what", 10);
    store.put_key("another", "one", "what", 10);
  });
  change([](SessionStore& store) {
    store.remove_key("owner", "one");
    store.remove_key("owner", "one");
  });
  const auto keys = store_->keys(0);
  ASSERT_EQ(2u, keys.size());
  EXPECT_EQ("another", keys[0].owner);
  EXPECT_EQ("two", keys[1].key);
}

TEST_F(SessionStoreTest, AnswersGoWithTheirTokens) {
  using Answers = std::vector<StoredAnswer>;
  for (const std::string id : {"sess_a", "sess_b"}) {
    put(id, 30'000);
    change([&](SessionStore& store) {
      store.put_answers(id, Answers{{10, 20}, {5'000, 5'000}, {9'000, 9'100}});
      store.put_answers(id, Answers{{20'000, 20'100}, {20'200, 20'300}});
    });
  }
  reopen();
  EXPECT_EQ((Answers{{10, 20}, {5'000, 5'000}, {9'000, 9'100}, {20'000, 20'100}, {20'200, 20'300}}),
            store_->answers("sess_a"));
  change([](SessionStore& store) { store.truncate("sess_a", 20'300); });
  EXPECT_EQ(5u, store_->answers("sess_a").size());
  change([](SessionStore& store) { store.truncate("sess_a", 20'050); });
  EXPECT_EQ((Answers{{10, 20}, {5'000, 5'000}, {9'000, 9'100}}), store_->answers("sess_a"));
  change([](SessionStore& store) { store.prune("sess_a", 9'050, 4); });
  EXPECT_EQ((Answers{{9'000, 9'100}}), store_->answers("sess_a")) << "as far as tokens are there";
  EXPECT_EQ(5u, store_->answers("sess_b").size());
  change([](SessionStore& store) { store.remove("sess_b"); });
  EXPECT_EQ(1, number_in(database_file(directory_.path()), "SELECT count(*) FROM answers"));
}

// Version 2 had no answers.
TEST_F(SessionStoreTest, TakesOverTheFormatBefore) {
  put("sess_a", 100);
  store_.reset();
  make_version_2(database_file(directory_.path()));
  for (int opened = 0; opened < 2; ++opened) {
    reopen();
    EXPECT_EQ("head of sess_a", store_->head("sess_a"));
    EXPECT_EQ(some_tokens(0, 100), tokens("sess_a", 0, 100));
    EXPECT_EQ(static_cast<std::size_t>(opened), store_->answers("sess_a").size());
    change([](SessionStore& store) { store.put_answers("sess_a", std::vector<StoredAnswer>{{10, 20}}); });
  }
}

TEST_F(SessionStoreTest, SyncEmptiesTheLog) {
  put("sess_a", 100'000);
  EXPECT_GT(std::filesystem::file_size(log_file(directory_.path())), 400'000u);
  store_->sync();
  EXPECT_EQ(0u, std::filesystem::file_size(log_file(directory_.path())));
  EXPECT_GT(store_->bytes(), 400'000);
  change([](SessionStore& store) { store.remove("sess_a"); });
  store_->sync();
  EXPECT_LT(store_->bytes(), 100'000);  // though the file is as long
}

TEST_F(SessionStoreTest, SyncedOnEachWriteItIsTheSame) {
  TemporaryDirectory directory{quick_place()};
  StoreSettings synced = settings(directory.path());
  synced.sync_each_write = true;
  for (std::int64_t i = 0; i < 3; ++i) {
    SessionStore store(synced);
    store.begin();
    store.put("sess_a", "head", i);
    store.append("sess_a", i, some_tokens(i, i + 1));
    store.commit();
    EXPECT_EQ(some_tokens(0, i + 1), store.tokens("sess_a", 0, 9).tokens);
  }
}

TEST_F(SessionStoreTest, FilesAreThisUsersAlone) {
  TemporaryDirectory parent{quick_place()};
  const std::filesystem::path there = parent.path() / "there";
  std::filesystem::create_directory(there);
  ASSERT_EQ(0, ::chmod(there.c_str(), 0755));
  for (const std::filesystem::path& path : {parent.path() / "some" / "where", there}) {
    SessionStore store(settings(path));
    struct stat status;
    ASSERT_EQ(0, ::stat(path.c_str(), &status));
    EXPECT_EQ(0700u, status.st_mode & 0777);
    ASSERT_EQ(0, ::stat(log_file(path).c_str(), &status));
    EXPECT_EQ(0600u, status.st_mode & 0777);
  }
  const std::filesystem::path shared = parent.path() / "shared";
  std::filesystem::create_directory(shared);
  std::filesystem::create_directory(shared / "others");
  ASSERT_EQ(0, ::chmod(shared.c_str(), 01755));
  SessionStore store(settings(shared));
  struct stat status;
  ASSERT_EQ(0, ::stat(shared.c_str(), &status));
  EXPECT_EQ(01755u, status.st_mode & 07777) << "it is not for sessions alone";
}

TEST_F(SessionStoreTest, CanBeCopiedAwayWhileItIsUsed) {
  put("sess_a", 1'000);
  TemporaryDirectory backup{quick_place()};
  back_up(database_file(directory_.path()), database_file(backup.path()));
  put("sess_b", 5);
  SessionStore store(settings(backup.path()));
  EXPECT_EQ(some_tokens(0, 1'000), store.tokens("sess_a", 0, 1'000).tokens);
  EXPECT_EQ(1u, store.list().size());
}

}  // namespace
}  // namespace sinkstream
