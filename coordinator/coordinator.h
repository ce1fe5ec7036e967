// The HTTP front of one engine: everything between a client's socket and the engine's messages.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "coordinator/api/api_settings.h"
#include "coordinator/http/bound_address.h"
#include "coordinator/http/server_settings.h"
#include "engine/engine.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"

namespace sinkstream {

// Engine, tokenizer and template outlive it. After stop() the engine may still send events; that is harmless.
// All methods but the constructor: any thread, but no signal handler. start() and stop() once.
class Coordinator {
 public:
  // Throws StartupError (ExitCode::config): unusable address or key file, or a public address without keys.
  Coordinator(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
              const ApiSettings& api_settings, const ServerSettings& server_settings);
  ~Coordinator();  // stops

  // Serves from now on; returns the address, e.g. "127.0.0.1:8000". Throws StartupError (ExitCode::bind).
  std::string start();
  std::string start(BoundAddress bound);  // there

  // New generations get 503, /health says so; those in flight go on.
  void begin_drain();
  // Whether everything in flight was answered before the deadline.
  bool wait_until_drained(std::chrono::steady_clock::time_point deadline);

  // The worker group is lost: /health says 503 from now on, and whoever waits gets an error at once. Returns
  // when they have been told, or after a second. May be called instead of a drain, or when one has taken too
  // long.
  void fail(const std::string& message);

  // Tells whoever still waits, cancels what still runs, closes all connections and ends the threads.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
