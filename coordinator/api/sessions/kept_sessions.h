// The sessions that there are, by id.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/api/sessions/client_session.h"

namespace sinkstream {

// Any thread.
class KeptSessions {
 public:
  using Map = std::map<std::string, std::shared_ptr<ClientSession>>;

  // Nobody else sees or changes them meanwhile; `action` must be short.
  template <typename Action>
  auto with_all(const Action& action) {
    const std::lock_guard lock(mutex_);
    return action(sessions_);
  }

  std::shared_ptr<ClientSession> find(const std::string& id) const {  // null: there is none
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : found->second;
  }
  bool erase(const std::string& id) {
    const std::lock_guard lock(mutex_);
    return sessions_.erase(id) > 0;
  }
  // Does it if the session is there, which nobody removes meanwhile. One that was removed, and kept again, is
  // another.
  template <typename Action>
  void if_kept(const ClientSession& session, const Action& action) const {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(session.facts().id);
    if (found != sessions_.end() && found->second.get() == &session) action();
  }
  std::vector<std::shared_ptr<ClientSession>> all() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<ClientSession>> all;
    for (const auto& [id, session] : sessions_) all.push_back(session);
    return all;
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return sessions_.size();
  }

 private:
  mutable std::mutex mutex_;
  Map sessions_;  // guarded by mutex_
};

}  // namespace sinkstream
