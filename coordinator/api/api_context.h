// What the endpoints share.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/api/api_settings.h"
#include "coordinator/api/engine_client.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/executor.h"
#include "coordinator/http/message/request_error.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"

namespace sinkstream {

class AnswerRecords;
class Journal;
class Metrics;
class SessionRegistry;
class TokenQuota;

// Whether new generations are taken. Any thread.
class Availability {
 public:
  void begin_drain() { draining_ = true; }
  void fail(const std::string& message);
  bool draining() const { return draining_; }
  std::optional<std::string> failure() const;
  // Throws RequestError (503) when draining or failed.
  void require() const;

 private:
  std::atomic<bool> draining_{false};
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;
  std::string message_;  // guarded by mutex_
};

// Logs each name of an unknown request field once; remembers a bounded number. Any thread.
class UnknownFieldLog {
 public:
  void note(const std::string& request_id, const std::vector<std::string>& names);

 private:
  std::mutex mutex_;
  std::set<std::string> noted_;  // guarded by mutex_
};

// What a client should know of an answer that is given all the same: the header x-sinkstream-warning, and
// each text once in the log. Any thread.
class Warnings {
 public:
  // Texts are few: they name what the model or the API has, not what a client sent.
  void give(Exchange& exchange, const std::string& text);

 private:
  std::mutex mutex_;
  std::set<std::string> logged_;  // guarded by mutex_
};

// The prompts of all requests that wait or are being answered, bounded together. Any thread.
class LivePrompts {
 public:
  explicit LivePrompts(std::int64_t max_tokens) : max_tokens_(max_tokens) {}
  // Counts these tokens until the result is let go, which may be after this has ended. Throws RequestError:
  // no room now (429), or ever (400).
  std::shared_ptr<void> hold(std::int64_t tokens);

 private:
  const std::int64_t max_tokens_;
  std::shared_ptr<std::atomic<std::int64_t>> held_ = std::make_shared<std::atomic<std::int64_t>>(0);
};

struct ApiContext {
  EngineClient& engine;
  const ApiSettings& settings;
  const Tokenizer& tokenizer;
  const ChatTemplate& chat_template;
  std::shared_ptr<Executor> executor;
  Metrics& metrics;
  Availability& availability;
  UnknownFieldLog& unknown_fields;
  Warnings& warnings;
  LivePrompts& live_prompts;
  TokenQuota& quota;
  SessionRegistry& sessions;
  AnswerRecords& records;
  Journal* journal;         // null: there is none
  std::int64_t started_at;  // Unix time; when the model was "created"
};

}  // namespace sinkstream
