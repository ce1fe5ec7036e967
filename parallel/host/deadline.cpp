#include "parallel/host/deadline.h"

#include "parallel/host/end_process.h"

namespace sinkstream {
namespace {

// Ranks whose time is up a little later find this one still there, and leave it the word.
constexpr std::chrono::milliseconds kLinger{500};

}  // namespace

Deadline::Deadline(std::chrono::milliseconds limit, std::function<std::string()> message) {
  thread_ = std::thread([this, limit, message = std::move(message)] {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, limit, [this] { return met_; })) return;
    const std::string text = message();
    if (!text.empty()) print_final_message(text);
    std::this_thread::sleep_for(kLinger);
    end_process();
  });
}

Deadline::~Deadline() {
  {
    const std::lock_guard lock(mutex_);
    met_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace sinkstream
