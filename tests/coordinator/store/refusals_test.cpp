// What keeps a store from opening or from writing, and what it says then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>

#include "base/error.h"
#include "coordinator/store/row_checksum.h"
#include "tests/coordinator/store/store_testing.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

using testing::HasSubstr;

std::string refusal(const StoreSettings& settings) {
  try {
    SessionStore store(settings);
  } catch (const StartupError& error) {
    EXPECT_EQ(ExitCode::config, error.code());
    EXPECT_THAT(error.what(), HasSubstr(settings.directory.string()));
    return error.what();
  }
  return "";
}

TEST(RefusalsTest, ASecondProcess) {
  TemporaryDirectory directory{quick_place()};
  auto store = std::make_unique<SessionStore>(settings(directory.path()));
  EXPECT_THAT(refusal(settings(directory.path())), HasSubstr("another process uses it"));
  store.reset();
  EXPECT_EQ("", refusal(settings(directory.path())));
}

TEST(RefusalsTest, AnotherModel) {
  TemporaryDirectory directory{quick_place()};
  EXPECT_EQ("", refusal(settings(directory.path())));
  StoreSettings another = settings(directory.path());
  another.model = "4567cdef";
  another.model_name = "llama";
  const std::string message = refusal(another);
  EXPECT_THAT(message, HasSubstr("'demo' (0123abcd)"));
  EXPECT_THAT(message, HasSubstr("'llama' (4567cdef)"));
}

TEST(RefusalsTest, AnotherFormat) {
  TemporaryDirectory directory{quick_place()};
  EXPECT_EQ("", refusal(settings(directory.path())));
  const auto refusal_of_version = [&](const std::string& version) {
    const std::int64_t crc = row_checksum("meta", std::string_view("version"), std::string_view(version));
    execute_in(database_file(directory.path()), "UPDATE meta SET value = '" + version + "', crc = " +
                                                    std::to_string(crc) + " WHERE name = 'version'");
    return refusal(settings(directory.path()));
  };
  EXPECT_THAT(refusal_of_version("1"), HasSubstr("version 1, which kept API keys in clear"));
  execute_in(database_file(directory.path()), "CREATE TABLE more(a)");
  EXPECT_THAT(refusal_of_version("4"), HasSubstr("version 4, and this server knows 3"));
}

TEST(RefusalsTest, WhatIsNotAStore) {
  TemporaryDirectory directory{quick_place()};
  EXPECT_THAT(refusal(settings(directory.write("file", "text"))), HasSubstr("is not a directory"));
  EXPECT_THAT(refusal(settings(directory.path() / "file" / "below")), HasSubstr("cannot make the directory"));
  directory.write("text/sessions.db", std::string(5'000, 'x'));
  EXPECT_THAT(refusal(settings(directory.path() / "text")), HasSubstr("not a database"));
  std::filesystem::create_directory(directory.path() / "other");
  execute_in(database_file(directory.path() / "other"), "CREATE TABLE a(b)");
  EXPECT_THAT(refusal(settings(directory.path() / "other")), HasSubstr("not one of ours"));
  std::filesystem::create_directories(database_file(directory.path() / "folder"));
  EXPECT_THAT(refusal(settings(directory.path() / "folder")), HasSubstr("Is a directory"));
}

// In a process of its own, since it changes what a process may; true: `check` holds.
bool holds_in_child(const std::function<bool()>& check) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool holds = false;
    try {
      holds = check();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    _exit(holds && !testing::Test::HasFailure() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(RefusalsTest, NoRightToWrite) {
  TemporaryDirectory directory{quick_place()};
  std::filesystem::create_directory(directory.path() / "closed");
  std::filesystem::permissions(directory.path() / "closed", std::filesystem::perms::owner_read);
  std::filesystem::permissions(directory.path(), std::filesystem::perms(0555));
  EXPECT_TRUE(holds_in_child([&] {
    if (::geteuid() == 0 && ::seteuid(65'534) != 0) return false;  // root has every right
    return refusal(settings(directory.path() / "new")).find("Permission denied") != std::string::npos &&
           refusal(settings(directory.path() / "closed")).find("Permission denied") != std::string::npos;
  }));
  std::filesystem::permissions(directory.path(), std::filesystem::perms(0755));
}

// Appends until there is no room, then makes some and goes on.
void fill(const std::filesystem::path& directory, const std::function<void()>& make_room) {
  auto store = std::make_unique<SessionStore>(settings(directory));
  store->begin();
  store->put("sess_a", "head", 1);
  store->commit();
  std::int64_t count = 0;
  std::string message;
  while (message.empty() && count < 2'000'000) {
    store->begin();
    try {
      store->append("sess_a", count, some_tokens(count, count + 5'000));
      store->put("sess_a", "head", count);
      store->commit();
      count += 5'000;
    } catch (const StoreFailure& failure) {
      EXPECT_EQ(StoreFault::full, failure.fault());
      message = failure.what();
      store->rollback();
    }
  }
  EXPECT_THAT(message, HasSubstr("no room on the disk"));
  EXPECT_THAT(message, HasSubstr(directory.string()));
  EXPECT_GT(count, 0);
  EXPECT_EQ(some_tokens(0, count), store->tokens("sess_a", 0, count + 1).tokens);
  make_room();
  store->begin();
  store->append("sess_a", count, some_tokens(count, count + 5'000));
  store->commit();
  store->sync();
  store.reset();
  store = std::make_unique<SessionStore>(settings(directory));
  EXPECT_EQ(some_tokens(0, count + 5'000), store->tokens("sess_a", 0, count + 5'001).tokens);
}

TEST(RefusalsTest, AFileThatMayNotGrow) {
  TemporaryDirectory directory{quick_place()};
  EXPECT_TRUE(holds_in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    fill(directory.path(), [&] {
      limit.rlim_cur = RLIM_INFINITY;
      ::setrlimit(RLIMIT_FSIZE, &limit);
    });
    return true;
  }));
}

// From here on nobody else sees what this process mounts.
bool mounts_alone() {
  const uid_t user = ::geteuid();
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
  }
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

TEST(RefusalsTest, AFullDisk) {
  TemporaryDirectory directory{quick_place()};
  if (!holds_in_child(mounts_alone)) GTEST_SKIP() << "this system lets this user mount nothing";
  EXPECT_TRUE(holds_in_child([&] {
    if (!mounts_alone()) return false;
    if (::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=4m") != 0) return false;
    const std::string other = directory.write("other", std::string(2'300'000, 'x'));
    fill(directory.path() / "sessions", [&] { std::filesystem::remove(other); });
    return true;
  }));
}

}  // namespace
}  // namespace sinkstream
