#include "programs/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

using testing::HasSubstr;

class ConfigFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) const { return directory_.write("config.yaml", text); }
  // The error of a configuration, with the file's directory cut off.
  std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    try {
      load_config(write(text), overrides);
      return "accepted";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::config);
      std::string message = error.what();
      const std::string directory = directory_.path().string() + "/";
      for (auto at = message.find(directory); at != std::string::npos; at = message.find(directory)) {
        message.erase(at, directory.size());
      }
      return message;
    }
  }

  const TemporaryDirectory directory_;
};

TEST_F(ConfigFile, DefaultsAndValues) {
  const Config config = load_config(write("model: {path: somewhere/tiny}\ncache: {mode: dense, max_context: "
                                          "700, slots: auto}\nserver:\n  listen: \"[::1]:0\"\n"
                                          "parallel: {stuck_seconds: 2.5, threads: 3}\nengine:\n"),
                                    {});
  EXPECT_EQ(config.model.path, directory_.path() / "somewhere/tiny");
  EXPECT_EQ(config.model.name, "tiny");
  EXPECT_EQ(config.cache.mode, CacheMode::dense);
  EXPECT_EQ(config.cache.max_context, 700);
  EXPECT_FALSE(config.cache.slots);
  EXPECT_EQ(config.cache.sink_tokens, 4);
  EXPECT_EQ(config.server.listen, "[::1]:0");
  EXPECT_EQ(config.parallel.stuck_seconds, 2.5);
  EXPECT_EQ(config.parallel.threads, 3);
  EXPECT_EQ(config.engine.default_max_tokens, 4096);
}

TEST_F(ConfigFile, PathsAreTakenFromTheFile) {
  const std::string text = "model: {path: a}\nserver: {api_key_file: keys}\n";
  EXPECT_EQ(load_config(write(text), {}).server.api_key_file, (directory_.path() / "keys").string());
  EXPECT_EQ(load_config(write(text), {"server.api_key_file="}).server.api_key_file, "");
  EXPECT_EQ(load_config(write("model: {path: /a}\n"), {}).model.path, "/a");
}

TEST_F(ConfigFile, OverridesWinAndTheirPathsAreTakenFromHere) {
  const Config config =
      load_config(write("model: {path: a, name: b}\ncache: {window_tokens: 5}\n"),
                  {"cache.window_tokens=7", "model.path=elsewhere", "server.listen=127.0.0.1:0"});
  EXPECT_EQ(config.cache.window_tokens, 7);
  EXPECT_EQ(config.model.path, "elsewhere");
  EXPECT_EQ(config.model.name, "b");
}

TEST_F(ConfigFile, ListsAreSequencesOrWordsWithCommas) {
  using testing::ElementsAre;
  const auto hosts = [&](const std::string& yaml, const std::vector<std::string>& overrides = {}) {
    return load_config(write("model: {path: a}\nserver:\n" + yaml), overrides).server.allowed_hosts;
  };
  EXPECT_THAT(hosts("  allowed_hosts: []\n"), ElementsAre());
  EXPECT_THAT(hosts("  allowed_hosts:\n"), ElementsAre());
  EXPECT_THAT(hosts("  allowed_hosts: [a.example, \"b\"]\n"), ElementsAre("a.example", "b"));
  EXPECT_THAT(hosts("  allowed_hosts:\n    - a\n    - '*'\n"), ElementsAre("a", "*"));
  EXPECT_THAT(hosts("  allowed_hosts: a\n"), ElementsAre("a"));
  EXPECT_THAT(hosts("  allowed_hosts: a, b\n"), ElementsAre("a", "b"));
  const std::string file = "  allowed_hosts: [a]\n";
  EXPECT_THAT(hosts(file, {"server.allowed_hosts=b, c ,d"}), ElementsAre("b", "c", "d"));
  EXPECT_THAT(hosts(file, {"server.allowed_hosts=[b, 'c']"}), ElementsAre("b", "c"));
  EXPECT_THAT(hosts(file, {"server.allowed_hosts="}), ElementsAre());
  EXPECT_THAT(hosts(file, {"server.allowed_hosts=[]"}), ElementsAre());
  EXPECT_THAT(load_config(write("model: {path: a, aliases: [gpt-4o, org/x]}\n"), {}).model.aliases,
              ElementsAre("gpt-4o", "org/x"));
}

struct BrokenCase {
  const char* text;
  const char* error;
};

TEST_F(ConfigFile, BrokenFilesNameLineKeyAndRemedy) {
  const std::vector<BrokenCase> cases = {
      {"", "config.yaml:1:1: is empty"},
      {"# only a comment\n", "is empty"},
      // YAML::LoadAll never returned from this one.
      {",n\nd4\n  window_tokens: 10\nengine:\n  prefill_chunk: 256\n.e:8000\"\n",
       "is empty, or not a configuration"},
      {"- a\n- b\n", ".yaml:1:1: must be sections"},
      {"model\n", "must be sections"},
      {"model: {path: x}\ncache:\n  sink_token: 4\n",
       ".yaml:3:3: unknown key 'cache.sink_token' (did you mean 'cache.sink_tokens'?)"},
      {"modle: {path: x}\n", ".yaml:1:1: unknown key 'modle' (did you mean 'model'?)"},
      {"model: {path: x}\nzzzzzzzz: 1\n", ".yaml:2:1: unknown key 'zzzzzzzz'"},
      {"model: {path: x}\ncache: {window_tokens: many}\n",
       ".yaml:2:24: cache.window_tokens: must be a whole number from 1 to"},
      {"model: {path: x}\ncache: {window_tokens: 0}\n",
       "cache.window_tokens: must be a whole number from 1 to"},
      {"model: {path: x}\ncache: {sink_tokens: -1}\n", "cache.sink_tokens: must be a whole number from 0 to"},
      {"model: {path: x}\ncache: {window_tokens: 2.5}\n", "not '2.5'"},
      {"model: {path: x}\ncache: {window_tokens: \"252\"}\n", "cache.window_tokens: must be a whole number"},
      {"model: {path: x}\ncache: {window_tokens: 99999999999999999999}\n",
       "cache.window_tokens: must be a whole number"},
      {"model: {path: x}\ncache: {mode: endless}\n",
       "cache.mode: must be sink | window | dense, not 'endless'"},
      {"model: {path: x, weights: f16}\n",
       "model.weights: 'f16' is not available in this version; choose bf16 | f32 | int8 | int4"},
      {"model: {path: x, weights: q4}\n", "model.weights: 'q4' is unknown; choose bf16 | f32 | int8 | int4"},
      {"model: {path: x}\nparallel: {device: gpu}\n",
       "'gpu' is unknown; choose auto | cpu | cuda | reference"},
      {"model: {path: x}\nparallel: {communicator: gloo}\n",
       "'gloo' is unknown; choose auto | mpi | shm | nccl"},
      {"model: {path: x}\nparallel: {stuck_seconds: nan}\n",
       "parallel.stuck_seconds: must be a number from 0.5"},
      {"model: {path: x}\nserver: {insecure: yes}\n", "server.insecure: must be true or false, not 'yes'"},
      {"model: {path: x}\nmodel: {path: y}\n", ".yaml:2:1: section 'model' is given twice"},
      {"model: {path: x, path: y}\n", "'model.path' is given twice"},
      {"model: {path: [x]}\n", "model.path: a single value is needed"},
      {"model: {path: x}\nserver: {allowed_hosts: {a: b}}\n",
       ".yaml:2:10: server.allowed_hosts: a list is needed, e.g. [a, b]"},
      {"model: {path: x}\nserver: {allowed_hosts: [[a]]}\n", "server.allowed_hosts: a list is needed"},
      {"model: {path: x}\nserver: {allowed_hosts: [a, '']}\n", "server.allowed_hosts: '' is empty"},
      {"model: {path: x}\nserver: {allowed_hosts: [a, 'http://b']}\n",
       "server.allowed_hosts: 'http://b' is not a host name"},
      {"model: {path: x}\nserver: {allowed_hosts: \"a,b\"}\n", "'a,b' is not a host name"},
      {"model: {path: x}\ncache: 5\n", "'cache' must hold keys"},
      {"model: {name: x}\n", "model.path is missing"},
      {"model:\n\tpath: x\n", "(the file holds tabs; YAML is indented by spaces)"},
      {"model: {path: x}\n---\nmodel: {path: y}\n", "a second document"},
      {"model: {path: x}\nsessions: {sync_seconds: -1}\n",
       ".yaml:2:26: sessions.sync_seconds: must be a number from 0 to 86400"},
      {"model: {path: x\n", ".yaml:"},
      {"\xEF\xBB\xBFmodel: {path: x}\n", "byte order mark"},
      {"model: {path: x}\ncache: {sink_tokens: 513}\n",
       "cache.sink_tokens (513) is larger than cache.max_sink_tokens (512)"},
      {"model: {path: x}\nengine: {max_tokens: 5}\n",
       "engine.default_max_tokens is larger than engine.max_tokens"},
  };
  for (const auto& broken : cases) EXPECT_THAT(error_of(broken.text), HasSubstr(broken.error)) << broken.text;
  EXPECT_THAT(error_of(std::string("model: {path: x}\n\0", 18)), HasSubstr(".yaml:2:1: contains a NUL byte"));
  EXPECT_THAT(error_of(std::string((1 << 20) + 1, '#')), HasSubstr("larger than 1 MiB"));
}

TEST_F(ConfigFile, AllProblemsAreSaidAtOnce) {
  const std::string error =
      error_of("modle: {}\nmodel: {path: x}\ncache: {mode: a, window_tokens: 0}\n", {"x", "cache.slots=0"});
  for (const char* part :
       {"modle", "cache.mode", "cache.window_tokens", "--set x: must be section.key=value", "cache.slots"}) {
    EXPECT_THAT(error, HasSubstr(part));
  }
}

TEST_F(ConfigFile, BrokenListsInOverrides) {
  for (const char* text : {"[a", "[a]]", "[{a: b}]", "a,,b", "a,", ","}) {
    EXPECT_THAT(error_of("model: {path: x}\n", {std::string("server.allowed_hosts=") + text}),
                HasSubstr("server.allowed_hosts: "))
        << text;
  }
}

TEST_F(ConfigFile, AnAliasBombIsHarmless) {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 20; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int k = 0; k < 8; ++k) bomb += "," + before;
    bomb += "]\n";
  }
  EXPECT_THAT(error_of(bomb), HasSubstr("unknown key 'a19'"));
}

TEST(Config, AMissingFileSaysWhereItWasLookedFor) {
  try {
    load_config("no-such-file.yaml", {});
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_THAT(error.what(), HasSubstr("share/sinkstream/configs"));
  }
}

TEST(Config, EverySettingIsDescribed) {
  const std::string text = describe_settings();
  for (const char* key : {"model.path", "cache.mode = sink", "cache.slots = auto", "engine.max_queue = 256",
                          "server.listen = 127.0.0.1:8000"}) {
    EXPECT_THAT(text, HasSubstr(key));
  }
}

}  // namespace
}  // namespace sinkstream
