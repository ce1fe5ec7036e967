// An engine without a model: every turn says the same tokens, at a speed the test sets. It keeps to the
// contract as strictly as the real one, and fails the test where the coordinator does not.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace sinkstream::testing {

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(EngineLimits limits);
  ~FakeEngine() override;

  // What turns say. `endless`: over and over; else an end token follows.
  void set_reply(std::vector<TokenId> tokens, bool endless = false);
  void set_token_time(std::chrono::milliseconds time);
  void hold(bool held);       // nothing is generated meanwhile: everything waits in the queue
  void listen(bool listens);  // to commands; else they wait
  std::size_t num_unheard() const;
  void fail_all(const std::string& message, FinishReason reason = FinishReason::ending);
  void end();                                                          // takes nothing new
  void refuse_next(RefusalReason reason, const std::string& message);  // whatever is asked for
  void hear_late();  // of each EndTurn, when the turn has ended by itself
  // A turn may be told to end where its session cannot go back to, and then is cancelled.
  void allow_out_of_reach();
  void refuse_saves(std::optional<RefusalReason> reason);  // each SaveSession
  void replay(std::int64_t tokens);                        // what turns tell of that
  void want_slot(SessionId session);
  void set_stats(const EngineStats& stats);

  std::size_t num_active() const;
  std::size_t num_cancelled() const;
  std::size_t num_out_of_credit() const;  // of those that are active
  std::int64_t num_events() const;

  // Each turn that was accepted, with its own seed.
  struct Turn : TurnParams {
    SharedTokens prompt;
  };
  std::vector<Turn> requests() const;

  // Sessions that were opened and not closed: what each has, pending tokens last.
  struct Kept {
    CacheWindow window;
    std::vector<TokenId> tokens;
    std::int64_t seen = 0;
    std::int64_t written = 0;  // the most that it ever had taken in
    std::int64_t sound_from = 0;
    bool is_new = true;  // it has its past still to take in
    std::vector<TokenId> pending() const { return {tokens.begin() + seen, tokens.end()}; }
  };
  std::map<SessionId, Kept> sessions() const;
  template <typename C>
  std::vector<C> commands() const {  // all of this kind that were sent
    const std::lock_guard lock(mutex_);
    std::vector<C> found;
    const auto find = [&](const Command& command) {
      if (const auto* one = std::get_if<C>(&command)) found.push_back(*one);
    };
    std::ranges::for_each(received_, find);
    std::ranges::for_each(inbox_, find);
    return found;
  }

  const EngineLimits& limits() const override { return limits_; }
  void connect(std::shared_ptr<EventSink> sink) override;
  void send(Command command) override;
  EngineStats stats() const override;

 private:
  struct Choice {
    std::shared_ptr<const Generate> command;
    std::int32_t index = 0;
    std::shared_ptr<std::size_t> prompt_read;  // one for the choices of a prompt
    SharedTokens input;                        // of a session's turn: what was pending, then the prompt
    std::int64_t base = 0;                     // tokens of its session before that
    std::int64_t granted = 0, sent = 0;        // token events
    std::size_t generated = 0;
    bool over = false;

    const SharedTokens& prompt() const;
    bool is_first_of_prompt() const { return index % command->n == 0; }
    std::int64_t credit() const { return granted - sent; }
  };

  void run();
  void take_commands();
  void take(const Generate& command);
  void take(const Grant& command);
  void take(const EndTurn& command);
  void take(const Cancel& command);
  void take(const OpenSession& command);
  void take(const ForkSession& command);
  void take(const RollBackSession& command);
  void take(const CloseSession& command);
  void take(const SaveSession& command);
  void take(const DropSnapshot&) {}
  void take(const KeepSnapshots&) {}
  bool refuses_turn(const Generate& command);
  bool is_in_turn(SessionId session) const;
  bool can_go_back(const Kept& session, std::int64_t tokens) const;
  void go_back(Kept& session, std::int64_t tokens) const;
  void tell_changed(RequestId request, SessionId session);
  void keep(const Choice& choice, TurnEnded& event);
  void drop_ended();
  Choice* find(RequestId request, std::int32_t index);
  bool is_in_reach(const Choice& choice, const EndTurn& command) const;
  void check_pending(const Choice& choice, const EndTurn& command) const;

  bool can_go_on(const Choice& choice) const;
  void step(Choice& choice);
  void read_prompt(Choice& choice);
  void tell(const Event& event);
  void tell_token(Choice& choice, std::size_t position, TokenId token, bool from_prompt);
  void finish(Choice& choice, std::int64_t seen, TurnEnded event);
  void wait(std::unique_lock<std::mutex>& lock);

  const EngineLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<EventSink> sink_;
  std::deque<Command> inbox_;
  std::vector<Command> received_;
  std::deque<Choice> active_;
  std::vector<Turn> requests_;
  std::map<SessionId, Kept> sessions_;
  std::vector<TokenId> reply_;
  std::optional<Refused> refusal_;
  bool endless_ = false;
  bool held_ = false;
  bool ending_ = false;
  bool listens_ = true;
  bool hears_late_ = false;
  bool allows_out_of_reach_ = false;
  std::optional<RefusalReason> refuses_saves_;
  std::int64_t replayed_ = 0;
  bool stopping_ = false;
  std::size_t num_cancelled_ = 0;
  std::int64_t num_events_ = 0;
  EngineStats stats_;
  std::chrono::milliseconds token_time_{0};
  std::thread thread_;
};

}  // namespace sinkstream::testing
