// A coordinator whose sessions are on disk.
#pragma once

#include <string>
#include <vector>

#include "tests/coordinator/api/sessions/no_room.h"
#include "tests/coordinator/api/sessions/sessions_fixture.h"
#include "tests/temporary_directory.h"

namespace sinkstream::testing {

class DurableSessionsTest : public SessionsTest {
 protected:
  DurableSessionsTest() {
    api_settings.sessions.directory = directory.path() / "sessions";
    api_settings.model_fingerprint = "abc";
    api_settings.arithmetic = "one";
  }
  // The server ends, and starts anew with an engine that knows nothing.
  void restart() {
    end();
    start();
  }
  void end() {
    coordinator->stop();
    coordinator.reset();
  }
  std::vector<TokenId> tokens_told(const std::string& id) const {
    return transcript(id)["tokens"].get<std::vector<TokenId>>();
  }
  const Past& newest_past() {
    past = engine->commands<OpenSession>().back().past;
    return past;
  }
  // What penalties look back on, in a turn of one token more.
  auto earlier_output(const std::string& id) {
    answer(kChat, {{"session", id},
                   {"messages", Json::array({message("user", "x")})},
                   {"repetition_penalty", 1.2},
                   {"repeat_last_n", 1000},
                   {"max_tokens", 1}});
    return engine->requests().back().sampling.earlier_output;
  }
  static RawResponse keyed(const std::string& address, const std::string& where, const Json& body,
                           const std::string& key) {
    RawClient client(address);
    client.send(post(where, body.dump(), "Idempotency-Key: " + key + "\r\nConnection: close\r\n"));
    return client.receive();
  }

  TemporaryDirectory directory;
  Past past;
};

}  // namespace sinkstream::testing
