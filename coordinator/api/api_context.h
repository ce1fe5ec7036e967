// What the endpoints share.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/exchange.h"
#include "coordinator/http/executor.h"
#include "coordinator/http/message/request_error.h"
#include "engine/engine.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"

namespace sinkstream {

class Metrics;

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

struct Service {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate& chat_template;
  std::shared_ptr<Executor> executor;
  Metrics& metrics;
  Availability& availability;
  UnknownFieldLog& unknown_fields;
  Warnings& warnings;
  LivePrompts& live_prompts;
  std::int64_t started_at;  // Unix time; when the model was "created"
};

// The name to answer with: the one that was asked for, else the model's own. Throws RequestError (404
// model_not_found) unless it is the served model's or one of its aliases.
std::string check_model(const std::optional<std::string>& name, const EngineLimits& limits);

// Throws RequestError (400) naming `param` when the tokenizer gives up on the text, or makes a token of it
// that the model does not have.
std::vector<TokenId> encode_text(const Service& service, std::string_view text, const EncodeOptions& options,
                                 const std::string& param);

// Puts the model's own sink before tokens that do not begin with it, if it has one; returns how many it
// added.
std::int64_t begin_with_sink(std::vector<TokenId>& tokens, const EngineLimits& limits);

// What every prompt that is given as text begins with: the model's own sink, else what its tokenizer puts
// first. Nothing: prompts may begin with anything.
std::optional<TokenId> first_token(const Service& service);

// False when a step has taken half as long as what counts as stuck: by then something is wrong.
bool makes_steps(const EngineStats& stats, const EngineLimits& limits);

// The first rank that has been silent for so long, if there is one.
const RankStatus* silent_rank(const EngineStats& stats);

// The longest prompt that a session still remembers whole: S + W, or max_context in dense mode.
std::int64_t context_tokens(const EngineLimits& limits);

// What clients are told to keep prompt and answer within. They cut prompts to it and take it, less the
// prompt, for max_tokens; so where input is endless it is the longest answer, which bounds what they ask for
// without making them cut.
std::int64_t max_model_len(const EngineLimits& limits);

}  // namespace sinkstream
