#include "coordinator/api/engine_client.h"

#include <mutex>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace sinkstream {

// Events wait here for the I/O thread, to which they go many at a time: there is one task for all that came
// since the last one began.
class EngineClient::Inbox final : public EventSink, public std::enable_shared_from_this<Inbox> {
 public:
  explicit Inbox(std::shared_ptr<Executor> executor) : executor_(std::move(executor)) {}

  void on_event(Event event) override {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      events_.push_back(std::move(event));
      if (std::exchange(is_posted_, true)) return;
    }
    executor_->post([self = shared_from_this()] { self->deliver_all(); });
  }

  void expect(RequestId request, std::int32_t choices, Handler handler) {
    requests_.emplace(request, Expecting{std::move(handler), choices});
  }

  void on_slot_wanted(std::function<void(SessionId)> listener) { slot_wanted_ = std::move(listener); }

  // Returns the requests that were not over.
  std::vector<RequestId> close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      events_.clear();
    }
    std::vector<RequestId> left;
    for (const auto& [request, expecting] : requests_) left.push_back(request);
    requests_.clear();
    return left;
  }

 private:
  struct Expecting {
    Handler handler;
    std::int32_t turns_left;
  };

  void deliver_all() {
    std::vector<Event> events;
    {
      const std::lock_guard lock(mutex_);
      events.swap(events_);
      is_posted_ = false;
    }
    for (Event& event : events) deliver(std::move(event));
  }

  void deliver(Event event) {
    if (const auto* const wanted = std::get_if<SlotWanted>(&event)) {
      return slot_wanted_ ? slot_wanted_(wanted->session) : void();
    }
    const RequestId request = std::visit([](const auto& what) { return what.request; }, event);
    const auto found = requests_.find(request);
    if (found == requests_.end()) return;  // it is over
    Expecting& expecting = found->second;
    if (std::holds_alternative<TurnEnded>(event)) --expecting.turns_left;
    if (expecting.turns_left > 0 && !std::holds_alternative<Refused>(event)) {
      return expecting.handler(std::move(event));
    }
    const Handler handler = std::move(expecting.handler);
    requests_.erase(found);
    handler(std::move(event));
  }

  const std::shared_ptr<Executor> executor_;
  std::mutex mutex_;
  std::vector<Event> events_;  // guarded by mutex_
  bool is_posted_ = false;     // guarded by mutex_: the task that takes them
  bool closed_ = false;        // guarded by mutex_

  // The I/O thread, and whoever closes when that has ended. Handlers may add requests.
  std::function<void(SessionId)> slot_wanted_;
  std::unordered_map<RequestId, Expecting> requests_;
};

EngineClient::EngineClient(Engine& engine, std::shared_ptr<Executor> executor)
    : engine_(engine), inbox_(std::make_shared<Inbox>(std::move(executor))) {
  engine_.connect(inbox_);
}

EngineClient::~EngineClient() {
  close();
}

RequestId EngineClient::generate(Generate command, Handler handler) {
  const RequestId request = expect(num_choices(command), std::move(handler));
  command.request = request;
  engine_.send(std::move(command));
  return request;
}

RequestId EngineClient::expect(std::int32_t turns, Handler handler) {
  const RequestId request = next_request_++;
  inbox_->expect(request, turns, std::move(handler));
  return request;
}

void EngineClient::on_slot_wanted(std::function<void(SessionId)> listener) {
  inbox_->on_slot_wanted(std::move(listener));
}

void EngineClient::close() {
  for (const RequestId request : inbox_->close()) engine_.send(Cancel{request});
}

}  // namespace sinkstream
