// What an engine tells, filed by request and choice.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "tests/patience.h"

namespace sinkstream {

inline constexpr std::int64_t kMuchCredit = std::int64_t{1} << 40;

// One turn's request, for whoever does not care for the rest.
inline Generate one_turn(std::vector<TokenId> prompt, std::int64_t max_tokens) {
  Generate command;
  command.prompts = {std::move(prompt)};
  command.params.max_tokens = max_tokens;
  command.credit = kMuchCredit;
  return command;
}

// Of one choice. `prompt` is told to the first choice of a prompt.
struct Told {
  RequestId request = 0;
  std::vector<TokenEvent> events;
  std::vector<TurnEnded> ends;

  std::vector<TokenId> tokens() const {
    std::vector<TokenId> tokens;
    for (const TokenEvent& event : events) tokens.push_back(event.token);
    return tokens;
  }
};

// Any thread. References to what was told are read when nothing more comes of it.
class Ledger final : public EventSink {
 public:
  void on_event(Event event) override {
    const std::lock_guard lock(mutex_);
    std::visit([this](auto& e) { note(std::move(e)); }, event);
    changed_.notify_all();
  }

  const Told& of(RequestId request, std::int32_t choice = 0) {
    const std::lock_guard lock(mutex_);
    return record(request, choice);
  }
  bool accepted(RequestId request) const { return has(accepted_, request); }
  std::optional<Refused> refused(RequestId request) const { return find(refused_, request); }
  std::optional<SessionChanged> changed(RequestId request) const { return find(sessions_, request); }

  std::vector<SessionId> slots_wanted() const {
    const std::lock_guard lock(mutex_);
    return slots_wanted_;
  }

  // Each throws when it takes too long.
  const TurnEnded& wait_for_end(RequestId request, std::int32_t choice = 0) {
    const Told* told = nullptr;
    wait([&] { return !(told = &record(request, choice))->ends.empty(); });
    return told->ends.front();
  }
  SessionChanged wait_for_change(RequestId request) {
    wait([&] { return sessions_.contains(request) || refused_.contains(request); });
    if (const auto refusal = refused(request)) throw std::runtime_error("refused: " + refusal->message);
    return *changed(request);
  }
  Refused wait_for_refusal(RequestId request) {
    wait([&] { return refused_.contains(request); });
    return *refused(request);
  }

 private:
  void wait(const std::function<bool()>& there) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, there)) throw std::runtime_error("the engine does not tell");
  }
  Told& record(RequestId request, std::int32_t choice) {
    auto& told = told_[{request, choice}];
    if (!told) told = std::make_unique<Told>(Told{.request = request, .events = {}, .ends = {}});
    return *told;
  }
  template <typename Map>
  bool has(const Map& map, RequestId request) const {
    const std::lock_guard lock(mutex_);
    return map.contains(request);
  }
  template <typename T>
  std::optional<T> find(const std::map<RequestId, T>& map, RequestId request) const {
    const std::lock_guard lock(mutex_);
    const auto it = map.find(request);
    return it == map.end() ? std::nullopt : std::optional<T>(it->second);
  }

  void note(Accepted event) { accepted_[event.request] = true; }
  void note(Refused event) { refused_[event.request] = std::move(event); }
  void note(TokenEvent event) { record(event.request, event.choice).events.push_back(std::move(event)); }
  void note(TurnEnded event) { record(event.request, event.choice).ends.push_back(std::move(event)); }
  void note(SessionChanged event) { sessions_[event.request] = std::move(event); }
  void note(SlotWanted event) { slots_wanted_.push_back(event.session); }

  mutable std::recursive_mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::pair<RequestId, std::int32_t>, std::unique_ptr<Told>> told_;
  std::map<RequestId, bool> accepted_;
  std::map<RequestId, Refused> refused_;
  std::map<RequestId, SessionChanged> sessions_;
  std::vector<SessionId> slots_wanted_;
};

}  // namespace sinkstream
