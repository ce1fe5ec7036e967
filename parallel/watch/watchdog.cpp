#include "parallel/watch/watchdog.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <system_error>
#include <utility>

#include "parallel/host/end_process.h"
#include "parallel/host/host_name_claim.h"
#include "parallel/watch/rendezvous.h"

namespace sinkstream::watch {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kStrangerLimit{3000};
constexpr std::size_t kMaxStrangers = 64;
constexpr milliseconds kGoodbyeLimit{500};
// At the end of a lost group: how long a process stays at least, so that others hear from it first, and at
// most.
constexpr milliseconds kShortestEnd{300};
constexpr milliseconds kLongestEnd{1000};
// How long mpirun, or its daemon, may take to end after its ranks.
constexpr milliseconds kLauncherLimit{2500};

// A rank that is not the leader watches only the leader, and only whether it lives.
std::vector<RankIdentity> watched_by(const WatchdogSettings& settings) {
  if (settings.rank == 0) return settings.ranks;
  return {settings.ranks.front()};
}

// Compares in a time that says nothing about where the first difference is.
bool equal_secrets(const Token& a, const Token& b) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

// Held by the one rank of a host that says why the group ended. The name must not give the secret away.
FileDescriptor claim_last_words(const Token& token) {
  return claim_name("sinkstream-end-" +
                    std::to_string(std::hash<std::string_view>()({token.data(), token.size()})));
}

}  // namespace

Watchdog::Watchdog(WatchdogSettings settings, FileDescriptor listener) : Watchdog(std::move(settings)) {
  listener_ = std::move(listener);
  start();
}

Watchdog::Watchdog(WatchdogSettings settings, Connection to_leader) : Watchdog(std::move(settings)) {
  peers_.emplace(0, std::move(to_leader));
  group_.heard(0, {}, now_);  // its welcome
  start();
}

Watchdog::Watchdog(WatchdogSettings settings)
    : settings_(std::move(settings)),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      group_(watched_by(settings_), settings_.stuck_after, settings_.join_limit),
      launcher_(settings_.watch_launcher, settings_.stuck_after),
      clock_(steady_clock::now(), 2 * settings_.heartbeat) {
  if (!wake_) throw std::system_error(errno, std::generic_category(), "the watchdog cannot make an event");
}

// Signals are for the process's other threads.
void Watchdog::start() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  order([](Orders& orders) { orders.stop = true; });
  thread_.join();
}

template <typename Change>
void Watchdog::order(Change&& change) {
  {
    const std::lock_guard lock(mutex_);
    change(orders_);
  }
  ::eventfd_write(wake_.get(), 1);
}

void Watchdog::report(RankState state, const char* what, std::uint64_t step) {
  const auto now = steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (state_ == RankState::waiting) {
    ++collectives_;
    in_collectives_ += now - waits_since_;
  }
  waits_since_ = now;
  state_ = state;
  what_ = what;
  step_ = step;
  ++progress_;
}

std::vector<RankStatus> Watchdog::ranks() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void Watchdog::fail(const std::string& message) {
  order([&](Orders& orders) {
    if (!orders.failure) orders.failure = message;
  });
}

void Watchdog::request_drain() {
  order([](Orders& orders) { orders.drain = true; });
}

void Watchdog::on_drain_requested(std::function<void()> handler) {
  order([&](Orders& orders) { orders.drain_handler = std::move(handler); });
}

void Watchdog::leave_without_goodbye() {
  order([](Orders& orders) { orders.without_goodbye = true; });
}

void Watchdog::run() try {
  while (follow_orders()) {
    now_ = clock_.look(steady_clock::now());
    if (now_ >= next_beat_) beat();
    wait_for_events(std::max(next_beat_ - now_, milliseconds(1)));
    accept_strangers();
    hear_strangers();
    hear_peers();
    if (const auto verdict = launcher_.judge_end()) lose_launcher(*verdict);
  }
} catch (const std::exception& error) {
  lose({own_name() + ": its watchdog failed: " + error.what(), std::nullopt});
}

// False when the watch is over.
bool Watchdog::follow_orders() {
  eventfd_t ignored = 0;
  ::eventfd_read(wake_.get(), &ignored);
  Orders orders;
  {
    const std::lock_guard lock(mutex_);
    orders = orders_;
    if (!is_leader() || orders.drain_handler) orders_.drain = false;
  }
  if (orders.failure) {
    hear_peers();  // what has happened to another rank already explains more
    lose({own_name() + ": " + *orders.failure, std::nullopt});
  }
  if (orders.drain) drain(orders.drain_handler);
  if (!orders.stop) return true;
  if (!orders.without_goodbye) say_goodbye();
  return false;
}

void Watchdog::drain(const std::function<void()>& handler) {
  if (!is_leader()) {
    tell_all(Drain{});
  } else if (handler) {
    handler();
  }
}

void Watchdog::beat() {
  next_beat_ = now_ + settings_.heartbeat;
  const RankReport report = own_report();
  if (is_leader()) group_.heard(0, report, now_);
  tell_all(report);
  if (const auto verdict = is_leader() ? group_.judge(now_) : group_.judge_silence(now_)) lose(*verdict);
  if (const auto verdict = launcher_.judge_stop(now_)) lose_launcher(*verdict);
  if (is_leader()) publish_status();
  accepting_ = true;
  std::erase_if(strangers_, [&](const Stranger& s) { return now_ - s.since > kStrangerLimit; });
}

void Watchdog::lose_launcher(const Verdict& verdict) {
  lose({own_name() + ": " + verdict.message, std::nullopt});
}

void Watchdog::publish_status() {
  std::vector<RankStatus> status = group_.status(now_);
  const std::lock_guard lock(mutex_);
  status_ = std::move(status);
}

RankReport Watchdog::own_report() {
  RankReport report = what_was_reported();
  if (report.state == RankState::idle) return report;
  if (std::exchange(seen_progress_, report.progress) != report.progress) {
    cpu_wait_.restart();
  } else {
    const auto starved = std::chrono::duration_cast<milliseconds>(cpu_wait_.longest());
    report.starved_milliseconds = static_cast<std::uint64_t>(starved.count());
  }
  return report;
}

RankReport Watchdog::what_was_reported() const {
  using std::chrono::microseconds;
  const std::lock_guard lock(mutex_);
  const auto in_collectives = std::chrono::duration_cast<microseconds>(in_collectives_);
  return {.state = state_,
          .step = step_,
          .progress = progress_,
          .collectives = collectives_,
          .collective_microseconds = static_cast<std::uint64_t>(in_collectives.count()),
          .what = what_};
}

void Watchdog::wait_for_events(milliseconds limit) {
  std::vector<pollfd> events{{wake_.get(), POLLIN, 0}, {launcher_.fd(), POLLIN, 0}};
  if (listener_ && accepting_) events.push_back({listener_.get(), POLLIN, 0});
  for (const Stranger& stranger : strangers_) events.push_back({stranger.connection.fd(), POLLIN, 0});
  for (const auto& [rank, connection] : peers_) {
    const int writing = connection.wants_to_write() ? POLLOUT : 0;
    events.push_back({connection.fd(), static_cast<short>(POLLIN | writing), 0});
  }
  ::poll(events.data(), events.size(), static_cast<int>(limit.count()));
}

// Where there are too many, the oldest has had its time to say hello. When file descriptors run out, the next
// beat tries again.
void Watchdog::accept_strangers() {
  for (std::size_t i = 0; listener_ && accepting_ && i < kMaxStrangers; ++i) {
    FileDescriptor fd = accept(listener_);
    accepting_ = fd || errno == EAGAIN || errno == ECONNABORTED;
    if (!fd) return;
    if (strangers_.size() == kMaxStrangers) strangers_.erase(strangers_.begin());
    strangers_.push_back({Connection(std::move(fd)), now_});
  }
}

void Watchdog::hear_strangers() {
  for (auto stranger = strangers_.begin(); stranger != strangers_.end();) {
    stranger = hear_stranger(*stranger) ? std::next(stranger) : strangers_.erase(stranger);
  }
  const bool all_joined = peers_.size() + 1 == settings_.ranks.size();
  if (!all_joined) return;
  listener_.reset();
  strangers_.clear();
}

// False when it is a stranger no more: welcomed, gone (perhaps a rank that tries again), or one who says
// something else than hello.
bool Watchdog::hear_stranger(Stranger& stranger) {
  const std::vector<Frame> frames = stranger.connection.receive();
  if (!stranger.connection.open()) return false;
  if (frames.empty()) return true;
  welcome(stranger, frames.front());
  return false;
}

// Makes the stranger a peer when it says the right words.
void Watchdog::welcome(Stranger& stranger, const Frame& frame) {
  const auto* hello = std::get_if<Hello>(&frame);
  if (hello == nullptr || !equal_secrets(hello->token, settings_.token)) return;
  const int rank = static_cast<int>(hello->rank);
  if (hello->rank == 0 || hello->rank >= settings_.ranks.size() || peers_.contains(rank)) return;
  stranger.connection.send(Welcome{});
  peers_.emplace(rank, std::move(stranger.connection));
  group_.heard(rank, {}, now_);
}

void Watchdog::hear_peers() {
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    peer = hear_peer(peer->first, peer->second) ? std::next(peer) : peers_.erase(peer);
  }
}

// False when the peer has said goodbye.
bool Watchdog::hear_peer(int rank, Connection& connection) {
  connection.flush();
  for (const Frame& frame : connection.receive()) {
    if (const auto* report = std::get_if<RankReport>(&frame)) {
      group_.heard(rank, *report, now_);
    } else if (const auto* lost = std::get_if<Lost>(&frame)) {
      lose({lost->message, std::nullopt}, told_by(rank));
    } else if (std::holds_alternative<Drain>(frame)) {
      request_drain();
    } else if (std::holds_alternative<Goodbye>(frame)) {
      group_.left(rank);
      return false;
    }
  }
  if (!connection.open()) lose(group_.ended_without_goodbye(rank));
  return true;
}

// What a rank of another host wrote may have been lost with its daemon, so the leader says it too.
Watchdog::Told Watchdog::told_by(int rank) const {
  const bool said_here = settings_.ranks[static_cast<std::size_t>(rank)].on_this_host;
  return is_leader() && !said_here ? Told::no : Told::yes;
}

std::string Watchdog::own_name() const {
  return name_of(settings_.ranks[static_cast<std::size_t>(settings_.rank)]);
}

// The goodbye must arrive before the connection goes, so it waits for the answer: the other side's closing.
void Watchdog::say_goodbye() {
  tell_all(Goodbye{});
  for (auto& [rank, connection] : peers_) connection.shut_down();
  const auto deadline = steady_clock::now() + kGoodbyeLimit;
  while (!peers_.empty() && steady_clock::now() < deadline) {
    for (auto peer = peers_.begin(); peer != peers_.end();) {
      peer->second.receive();
      peer = peer->second.open() ? std::next(peer) : peers_.erase(peer);
    }
    if (!peers_.empty()) wait_for_events(kGoodbyeLimit);
  }
}

void Watchdog::tell_all(const Frame& frame) {
  for (auto& [rank, connection] : peers_) connection.send(frame);
}

void Watchdog::lose(const Verdict& verdict, Told told) {
  const auto start = steady_clock::now();
  tell_all(Lost{verdict.message});
  try {
    // From here on anything may block: our standard error, too, when nobody reads it.
    std::thread([this, start, verdict] {
      std::this_thread::sleep_until(start + kLongestEnd);
      end_at_once(verdict);
    }).detach();
    FileDescriptor claim;
    if (told == Told::no) claim = claim_last_words(settings_.token);
    if (claim) print_final_message("the worker group is lost: " + verdict.message);
    if (settings_.on_lost) settings_.on_lost(verdict.message);
    std::this_thread::sleep_until(start + kShortestEnd);
  } catch (const std::exception&) {
    // The end comes all the same.
  }
  end_at_once(verdict);
}

void Watchdog::end_at_once(const Verdict& verdict) const {
  if (verdict.silent && verdict.silent->on_this_host) ::kill(verdict.silent->pid, SIGKILL);
  launcher_.continue_if_stopped();
  launcher_.end_within(kLauncherLimit);
  end_process();
}

}  // namespace sinkstream::watch
