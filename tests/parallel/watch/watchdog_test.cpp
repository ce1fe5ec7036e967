// Watchdogs of several ranks in one process. How they end a group is for liveness_fault_test.py: it ends the
// process.
#include "parallel/watch/watchdog.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "parallel/watch/rendezvous.h"
#include "tests/patience.h"

namespace sinkstream::watch {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::ThrowsMessage;

WatchdogSettings settings_of(int rank, int size, const Token& token) {
  WatchdogSettings settings{.rank = rank,
                            .token = token,
                            .stuck_after = kPatience,
                            .heartbeat = milliseconds(20),
                            .join_limit = kPatience};
  for (int r = 0; r < size; ++r) settings.ranks.push_back({.rank = r, .pid = 1000 + r, .host = "here"});
  return settings;
}

// A leader's watchdog that waits for `size - 1` others.
struct Leader {
  explicit Leader(int ranks) : size(ranks) {
    FileDescriptor listener = listen(true);
    place = {.token = random_token(), .port = port_of(listener), .addresses = {"127.0.0.1"}};
    watchdog = std::make_unique<Watchdog>(settings_of(0, size, place.token), std::move(listener));
  }

  std::unique_ptr<Watchdog> join_as(int rank) const {
    return std::make_unique<Watchdog>(settings_of(rank, size, place.token), join(place, rank, kPatience));
  }

  int size;
  Rendezvous place;
  std::unique_ptr<Watchdog> watchdog;
};

FileDescriptor connect_to(std::uint16_t port) {
  FileDescriptor fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(port);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 ? std::move(fd)
                                                                                      : FileDescriptor();
}

// Waits for the other side to close; true when it did.
bool is_closed(Connection& connection) {
  return !connection.receive_one(kPatience) && !connection.open();
}

TEST(Rendezvous, ComesBackAsItWas) {
  const Rendezvous place{.token = random_token(), .port = 65535, .addresses = {"10.0.0.1", "127.0.0.1"}};
  const Rendezvous decoded = decode_rendezvous(encode(place));
  EXPECT_EQ(decoded.token, place.token);
  EXPECT_EQ(decoded.port, place.port);
  EXPECT_EQ(decoded.addresses, place.addresses);
}

TEST(Rendezvous, AnythingElseIsRefused) {
  const Rendezvous place{.token = random_token(), .port = 80, .addresses = {"10.0.0.1"}};
  const std::string whole = encode(place);
  std::vector<std::string> others = {whole + "x", encode(Rendezvous{place.token, 0, place.addresses}),
                                     encode(Rendezvous{place.token, 80, {}})};
  for (std::size_t length = 0; length < whole.size(); ++length) others.push_back(whole.substr(0, length));
  for (const std::string& other : others) {
    EXPECT_THAT([&] { decode_rendezvous(other); },
                ThrowsMessage<std::runtime_error>(HasSubstr("did not say where its watchdog listens")));
  }
}

TEST(Rendezvous, TokensDiffer) {
  EXPECT_NE(random_token(), random_token());
}

TEST(OwnAddresses, EndWithTheLoopback) {
  EXPECT_EQ(own_addresses().back(), "127.0.0.1");
}

TEST(Join, SaysWhatItTriedInVain) {
  Rendezvous place{.token = random_token(), .port = 0, .addresses = {"127.0.0.1", "not an address"}};
  {
    const FileDescriptor listener = listen(true);
    place.port = port_of(listener);  // free again in a moment
  }
  EXPECT_THAT([&] { join(place, 1, milliseconds(50)); },
              ThrowsMessage<std::runtime_error>(HasSubstr("tried 127.0.0.1:" + std::to_string(place.port))));
}

TEST(Watchdog, GroupsOfEverySizeEndInAnyOrder) {
  for (const int size : {1, 2, 5}) {
    for (const bool leader_first : {true, false}) {
      Leader leader(size);
      std::vector<std::unique_ptr<Watchdog>> others;
      for (int r = 1; r < size; ++r) others.push_back(leader.join_as(r));
      for (auto& other : others) other->report(RankState::working, "a layer", 1);
      std::this_thread::sleep_for(milliseconds(50));
      if (leader_first) leader.watchdog.reset();
      others.clear();
    }
  }
}

TEST(Watchdog, TheLeaderKnowsHowLongEachRankWasInCollectives) {
  Leader leader(2);
  const auto other = leader.join_as(1);
  other->report(RankState::waiting, "a sum", 1);
  std::this_thread::sleep_for(milliseconds(5));
  other->report(RankState::working, "a step", 1);
  std::vector<RankStatus> ranks;
  for (int looks = 0; looks < 2000 && (ranks.size() < 2 || ranks[1].collectives == 0); ++looks) {
    std::this_thread::sleep_for(milliseconds(10));
    ranks = leader.watchdog->ranks();
  }
  ASSERT_EQ(ranks.size(), 2U);
  EXPECT_TRUE(ranks[0].up && ranks[1].up);
  EXPECT_EQ(ranks[1].host, "here");
  EXPECT_EQ(ranks[1].collectives, 1U);
  EXPECT_GE(ranks[1].collective_seconds, 0.005);
  EXPECT_TRUE(other->ranks().empty());
}

TEST(Watchdog, ADrainAskedOfAnyRankReachesTheLeadersHandler) {
  Leader leader(3);
  const auto first = leader.join_as(1);
  const auto second = leader.join_as(2);
  std::atomic<int> asked{0};
  second->request_drain();  // before there is a handler
  std::this_thread::sleep_for(milliseconds(30));
  leader.watchdog->on_drain_requested([&] { ++asked; });
  EXPECT_TRUE(eventually([&] { return asked == 1; }));
  first->request_drain();
  EXPECT_TRUE(eventually([&] { return asked == 2; }));
  leader.watchdog->request_drain();
  EXPECT_TRUE(eventually([&] { return asked == 3; }));
}

TEST(Watchdog, StrangersAreDroppedAndTheGroupStillComesTogether) {
  Leader leader(3);
  const std::uint16_t port = leader.place.port;
  const auto first = leader.join_as(1);

  Token wrong = leader.place.token;
  wrong.back() = static_cast<char>(wrong.back() ^ 1);
  for (const std::string& words :
       {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string(5000, '\0'), std::string(5000, '\xff'),
        encode(Hello{wrong, 2}), encode(Goodbye{}), encode(Lost{"I say so"}), encode(RankReport{}),
        encode(Hello{leader.place.token, 0}), encode(Hello{leader.place.token, 1}),
        encode(Hello{leader.place.token, 3}), encode(Hello{leader.place.token, 0xffffffff})}) {
    Connection stranger(connect_to(port));
    ::send(stranger.fd(), words.data(), words.size(), MSG_NOSIGNAL);
    EXPECT_TRUE(is_closed(stranger)) << words.substr(0, 20);
  }
  const auto second = leader.join_as(2);
}

TEST(Watchdog, SilentStrangersDoNotKeepTheGroupOut) {
  Leader leader(2);
  std::vector<FileDescriptor> strangers;
  for (int i = 0; i < 200; ++i) strangers.push_back(connect_to(leader.place.port));
  const auto other =
      std::make_unique<Watchdog>(settings_of(1, 2, leader.place.token), join(leader.place, 1, kPatience));
}

TEST(Watchdog, NobodyGetsInWhenAllHaveJoined) {
  Leader leader(2);
  Connection early(connect_to(leader.place.port));
  const auto other = leader.join_as(1);
  EXPECT_TRUE(is_closed(early));
  EXPECT_TRUE(eventually([&] { return !connect_to(leader.place.port); }));
}

}  // namespace
}  // namespace sinkstream::watch
