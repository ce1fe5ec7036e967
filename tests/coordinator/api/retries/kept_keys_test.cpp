// Idempotency-Keys in the journal: as long as they are known, and no longer.
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/api/journal/journal.h"
#include "tests/coordinator/api/retries/answer_records_fixture.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {
namespace {

using std::chrono::seconds;

class KeptKeysTest : public AnswerRecordsTest {
 protected:
  KeptKeysTest() {
    journal.start(executor);
    start({.replay_seconds = 100, .retry_seconds = 10, .max_bytes = 1 << 20});
  }
  // As the server does when it starts.
  void start(const RecordSettings& settings) {
    records = std::make_shared<AnswerRecords>(executor, settings, &journal);
    records->take_up();
  }
  std::vector<std::string> keys_on_disk() {
    std::vector<std::string> keys;
    constexpr std::int64_t kBeforeAll = -1;
    for (const auto& stored : journal.read([](SessionStore& store) { return store.keys(kBeforeAll); })) {
      keys.push_back(stored.key);
    }
    return keys;
  }

  const TemporaryDirectory directory;
  Journal journal{
      {.store = {.directory = directory.path() / "sessions", .model = "abc", .model_name = "demo"}}};
};

TEST_F(KeptKeysTest, StandOnDiskForTheirTime) {
  ask(keyed("a"));
  EXPECT_EQ(keys_on_disk(), std::vector<std::string>{"a"});
  respond("one");
  executor->pass(seconds(50));
  ask(keyed("b"));
  respond("two");
  executor->pass(seconds(49));
  EXPECT_EQ(keys_on_disk(), (std::vector<std::string>{"a", "b"}));
  executor->pass(seconds(1));
  EXPECT_EQ(keys_on_disk(), std::vector<std::string>{"b"});
  executor->pass(seconds(50));
  EXPECT_TRUE(keys_on_disk().empty());
}

TEST_F(KeptKeysTest, ThoseOfFailedRequestsGo) {
  ask(keyed("a"));
  endpoint->fail({409, "", "", ""});
  done();
  EXPECT_TRUE(keys_on_disk().empty());
  ask(keyed("a"));
  ASSERT_NE(endpoint, nullptr) << "it is tried again";
  respond("one");
  EXPECT_EQ(keys_on_disk(), std::vector<std::string>{"a"});
}

}  // namespace
}  // namespace sinkstream::testing
