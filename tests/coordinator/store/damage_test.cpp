// Bits flip in the files: what is read was written, or the damage is said.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/coordinator/store/store_model.h"
#include "tests/coordinator/store/store_testing.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

// Sessions with so many tokens each, while the store is being changed.
void put_sessions(SessionStore& store, const std::vector<std::string>& ids, std::int64_t tokens) {
  for (const std::string& id : ids) {
    store.put(id, "head of " + id, 1);
    store.append(id, 0, some_tokens(0, tokens));
  }
}

class DamageTest : public testing::Test {
 protected:
  DamageTest() {
    const auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("", sink));
  }
  ~DamageTest() override { spdlog::set_default_logger(before_); }

  std::string logged() {
    std::string text = log_.str();
    log_.str("");
    return text;
  }

 private:
  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
};

// Flips a bit; returns where. Half of them where a page says what is in it.
std::string flip(const std::filesystem::path& file, std::mt19937& random) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  auto position = static_cast<std::streamoff>(random() % std::filesystem::file_size(file));
  if (random() % 2 == 0) position = position / 4'096 * 4'096 + static_cast<std::streamoff>(random() % 64);
  const unsigned bit = random() % 8;
  stream.seekg(position);
  const int byte = stream.get();
  stream.seekp(position);
  stream.put(static_cast<char>(byte ^ (1 << bit)));
  return "bit " + std::to_string(bit) + " of byte " + std::to_string(position);
}

// Goes on with what is there, if it can.
bool go_on(SessionStore& store, StoreModel& model) {
  StoreModel next = model;
  try {
    next.commit(store);
    model = next;
    return true;
  } catch (const StoreFailure& failure) {
    EXPECT_EQ(StoreFault::damaged, failure.fault()) << failure.what();
    store.rollback();
    return false;
  }
}

// Opens it, compares, writes, and compares again. What does not open says why.
struct Outcome {
  bool opened = false;
  int lost = 0;  // sessions
};
Outcome use(const std::filesystem::path& directory, StoreModel model) {
  Outcome outcome;
  try {
    SessionStore store(settings(directory));
    outcome.opened = true;
    outcome.lost = model.expect_honest(store);
    if (outcome.lost > 0) return outcome;
    for (int i = 0; i < 3; ++i) go_on(store, model);
    outcome.lost = model.expect_honest(store);
  } catch (const StartupError& error) {
    EXPECT_EQ(ExitCode::config, error.code());
    EXPECT_NE(std::string(error.what()).find(directory.string()), std::string::npos) << error.what();
  } catch (const StoreFailure& failure) {
    EXPECT_EQ(StoreFault::damaged, failure.fault()) << failure.what();
  }
  return outcome;
}

TEST_F(DamageTest, FlippedBitsInTheDatabase) {
  TemporaryDirectory directory{quick_place()};
  StoreModel model;
  {
    SessionStore store(settings(directory.path()));
    for (int i = 0; i < 150; ++i) model.commit(store);
  }  // whose end empties the log
  std::mt19937 random(3);
  int opened = 0;
  for (int round = 0; round < 300; ++round) {
    TemporaryDirectory damaged{quick_place()};
    copy_files(directory.path(), damaged.path());
    SCOPED_TRACE(flip(database_file(damaged.path()), random));
    logged();
    const Outcome outcome = use(damaged.path(), model);
    opened += outcome.opened;
    EXPECT_TRUE(outcome.lost == 0 || !logged().empty()) << outcome.lost << " sessions are lost";
  }
  EXPECT_GT(opened, 150);
}

// One of tokens.
void damage_a_page(const std::filesystem::path& database) {
  const std::int64_t page =
      number_in(database, "SELECT pageno FROM dbstat WHERE name = 'tokens' AND pagetype = 'leaf' LIMIT 1");
  std::fstream stream(database, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp((page - 1) * 4'096);
  stream.put('x');
}

// It goes on in a database without the damaged pages; other sessions are whole, and its own begin is.
TEST_F(DamageTest, PagesThatDoNotFitTogether) {
  TemporaryDirectory directory{quick_place()};
  std::string salt;
  {
    SessionStore store(settings(directory.path()));
    salt = store.salt();
    store.begin();
    put_sessions(store, {"sess_a", "sess_b", "sess_c"}, 50'000);
    store.prune("sess_c", 9'000, 4);
    store.put("sess_e", "head", 7);
    store.append("sess_e", 0, some_tokens(0, 10));
    store.put_key("owner", "key", "what", 100);
    store.put_answers("sess_b", std::vector<StoredAnswer>{{10, 20}});
    store.commit();
  }
  execute_in(database_file(directory.path()), "UPDATE sessions SET head = 'heap' WHERE id = 'sess_e'");
  damage_a_page(database_file(directory.path()));
  SessionStore store(settings(directory.path()));
  EXPECT_NE(logged().find("sessions.db is damaged"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "sessions.db.damaged"));
  ASSERT_EQ(4u, store.list().size());
  EXPECT_FALSE(store.list()[3].sound) << "what was damaged before is so, and is there";
  EXPECT_EQ(7, store.list()[3].last_used_at);
  EXPECT_EQ(some_tokens(0, 10), store.tokens("sess_e", 0, 10).tokens);
  EXPECT_EQ(1u, store.keys(0).size());
  EXPECT_EQ(1u, store.answers("sess_b").size());
  EXPECT_EQ(salt, store.salt());
  const StoredTokens damaged = store.tokens("sess_a", 0, 50'000);
  EXPECT_EQ(static_cast<std::int64_t>(damaged.tokens.size()), damaged.damaged_from);
  EXPECT_EQ(some_tokens(0, *damaged.damaged_from), damaged.tokens);
  EXPECT_EQ(some_tokens(0, 50'000), store.tokens("sess_b", 0, 50'000).tokens);
  EXPECT_EQ(some_tokens(8'192, 50'000), store.tokens("sess_c", 0, 50'000).tokens);
  store.begin();
  store.truncate("sess_a", *damaged.damaged_from);
  store.append("sess_a", *damaged.damaged_from, some_tokens(0, 5));
  store.put("sess_d", "", 1);
  store.commit();
}

// It is taken over when what is sound of it is: the damaged file stays as it was.
TEST_F(DamageTest, PagesOfTheFormatBefore) {
  TemporaryDirectory directory{quick_place()};
  {
    SessionStore store(settings(directory.path()));
    store.begin();
    put_sessions(store, {"sess_a", "sess_b"}, 50'000);
    store.commit();
  }
  make_version_2(database_file(directory.path()));
  damage_a_page(database_file(directory.path()));
  SessionStore store(settings(directory.path()));
  EXPECT_EQ(2u, store.list().size());
  EXPECT_EQ(some_tokens(0, 50'000), store.tokens("sess_b", 0, 50'000).tokens);
  store.begin();
  store.put_answers("sess_b", std::vector<StoredAnswer>{{10, 20}});
  store.commit();
  EXPECT_EQ(0, number_in(directory.path() / "sessions.db.damaged",
                         "SELECT count(*) FROM sqlite_master WHERE name = 'answers'"));
}

TEST_F(DamageTest, AShortDatabase) {
  TemporaryDirectory directory{quick_place()};
  StoreModel model;
  {
    SessionStore store(settings(directory.path()));
    for (int i = 0; i < 150; ++i) model.commit(store);
  }
  const auto length = std::filesystem::file_size(database_file(directory.path()));
  std::mt19937 random(4);
  for (int round = 0; round < 50; ++round) {
    TemporaryDirectory damaged{quick_place()};
    copy_files(directory.path(), damaged.path());
    const auto left = 1 + random() % (length - 1);
    SCOPED_TRACE(left);
    std::filesystem::resize_file(database_file(damaged.path()), left);
    logged();
    const Outcome outcome = use(damaged.path(), model);
    EXPECT_TRUE(outcome.lost == 0 || !logged().empty()) << outcome.lost << " sessions are lost";
  }
}

// What was committed before the flipped bit is there; that there was more is said.
TEST_F(DamageTest, FlippedBitsInTheLog) {
  TemporaryDirectory directory{quick_place()};
  SessionStore store(settings(directory.path()));
  StoreModel model;
  for (int i = 0; i < 40; ++i) model.commit(store);
  store.sync();
  for (int i = 0; i < 40; ++i) model.commit(store);
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    TemporaryDirectory damaged{quick_place()};
    copy_files(directory.path(), damaged.path());
    SCOPED_TRACE(flip(log_file(damaged.path()), random));
    logged();
    SessionStore opened(settings(damaged.path()));
    const std::int64_t commits = StoreModel::commits_in(opened);
    EXPECT_GE(commits, 40);
    EXPECT_EQ(commits < 80, logged().find("sessions.db-wal: ") != std::string::npos) << commits;
    StoreModel before;
    before.replay_to(commits);
    before.expect_equal(opened);
  }
}

TEST_F(DamageTest, ADamagedRowEndsWhatIsSound) {
  TemporaryDirectory directory{quick_place()};
  SessionStore store(settings(directory.path()));
  store.begin();
  put_sessions(store, {"sess_a", "sess_b"}, 20'000);
  store.commit();
  // Rows begin at 0, 4096, 8192, ...
  execute_in(database_file(directory.path()),
             "UPDATE tokens SET tokens = zeroblob(16384) WHERE session = 1 AND first = 8192");
  StoredTokens read = store.tokens("sess_a", 0, 20'000);
  EXPECT_EQ(some_tokens(0, 8'192), read.tokens);
  EXPECT_EQ(8'192, read.damaged_from);
  read = store.tokens("sess_a", 9'000, 20'000);
  EXPECT_TRUE(read.tokens.empty());
  EXPECT_EQ(8'192, read.damaged_from);
  read = store.tokens("sess_a", 12'288, 20'000);
  EXPECT_EQ(some_tokens(12'288, 20'000), read.tokens);
  EXPECT_FALSE(read.damaged_from);
  EXPECT_FALSE(store.tokens("sess_b", 0, 20'000).damaged_from);

  store.begin();
  store.put("sess_c", "", 2);
  store.copy("sess_a", "sess_c", 19'000);
  store.append("sess_c", 19'000, some_tokens(19'000, 19'010));
  store.commit();
  read = store.tokens("sess_c", 0, 20'000);
  EXPECT_EQ(some_tokens(0, 8'192), read.tokens);
  EXPECT_EQ(8'192, read.damaged_from);
  read = store.tokens("sess_c", 12'288, 20'000);
  EXPECT_EQ(some_tokens(12'288, 19'010), read.tokens);
  EXPECT_FALSE(read.damaged_from);
  EXPECT_TRUE(store.tokens("sess_c", 9'000, 10'000).damaged_from);

  store.begin();
  store.truncate("sess_a", 8'192);
  store.append("sess_a", 8'192, some_tokens(8'192, 8'200));
  store.commit();
  read = store.tokens("sess_a", 0, 20'000);
  EXPECT_EQ(some_tokens(0, 8'200), read.tokens);
  EXPECT_FALSE(read.damaged_from);
}

TEST_F(DamageTest, RowsThatAreGone) {
  TemporaryDirectory directory{quick_place()};
  {
    SessionStore store(settings(directory.path()));
    store.begin();
    put_sessions(store, {"sess_a", "sess_b", "sess_c", "sess_d"}, 20'000);
    store.prune("sess_c", 9'000, 4);
    store.put_key("owner", "key", "what", 100);
    store.put_answers("sess_a", std::vector<StoredAnswer>{{10, 20}, {30, 40}});
    store.commit();
  }
  execute_in(database_file(directory.path()), "DELETE FROM tokens WHERE session = 1 AND first = 16384");
  execute_in(database_file(directory.path()), "DELETE FROM sessions WHERE session = 2");
  execute_in(database_file(directory.path()), "DELETE FROM extents WHERE session = 3");
  execute_in(database_file(directory.path()), "UPDATE sessions SET last_used_at = 2 WHERE session = 4");
  execute_in(database_file(directory.path()), "UPDATE keys SET expires_at = 200");
  execute_in(database_file(directory.path()), "UPDATE answers SET last = 25 WHERE first = 10");
  SessionStore store(settings(directory.path()));
  EXPECT_NE(logged().find("a session of 20000 tokens is lost"), std::string::npos);
  const auto listed = store.list();
  ASSERT_EQ(3u, listed.size());
  EXPECT_TRUE(listed[0].sound && listed[1].sound);
  EXPECT_EQ("sess_d", listed[2].id);
  EXPECT_FALSE(listed[2].sound);
  EXPECT_EQ("", listed[2].head);
  EXPECT_EQ(2, listed[2].last_used_at);
  EXPECT_NE(logged().find("what is known of sess_d, of 20000 tokens, is damaged"), std::string::npos);
  EXPECT_THROW(store.head("sess_d"), StoreFailure);
  EXPECT_TRUE(store.keys(0).empty());
  EXPECT_NE(logged().find("Idempotency-Key"), std::string::npos);
  const auto answers = store.answers("sess_a");
  ASSERT_EQ(1u, answers.size());
  EXPECT_EQ(30, answers[0].begin);
  EXPECT_NE(logged().find("where an answer stands is lost"), std::string::npos);

  EXPECT_EQ(16'384, store.tokens("sess_a", 0, 20'000).damaged_from);
  EXPECT_EQ(some_tokens(0, 16'384), store.tokens("sess_a", 0, 20'000).tokens);

  // How far it went is lost; what is there is known.
  const StoredTokens read = store.tokens("sess_c", 0, 20'000);
  EXPECT_EQ(8'192, read.begin);
  EXPECT_EQ(some_tokens(8'192, 20'000), read.tokens);
  EXPECT_EQ(20'000, read.damaged_from);
  store.begin();
  EXPECT_THROW(store.append("sess_c", 20'000, some_tokens(0, 1)), StoreFailure);
  store.rollback();
  store.begin();
  store.truncate("sess_c", 20'000);
  store.append("sess_c", 20'000, some_tokens(0, 1));
  store.commit();
  EXPECT_FALSE(store.tokens("sess_c", 0, 20'001).damaged_from);
}

}  // namespace
}  // namespace sinkstream
