#include "parallel/watch/liveness.h"

#include <unistd.h>

#include <exception>
#include <span>
#include <stdexcept>
#include <vector>

#include "parallel/communicator/mpi_communicator.h"
#include "parallel/watch/rendezvous.h"
#include "parallel/watch/watchdog.h"

namespace sinkstream {
namespace {

// A rank gives up joining, and says why, before the leader gives it up.
constexpr std::chrono::milliseconds kJoinLimit{10000};
constexpr std::chrono::milliseconds kJoinGrace{5000};

// Collective.
std::vector<watch::RankIdentity> identify_ranks(Communicator& communicator, const LocalRanks& local) {
  const std::string this_host = host_identity();
  const std::vector<int> pids = all_gather_value(communicator, static_cast<int>(::getpid()));
  const std::vector<std::string> names = all_gather_strings(communicator, local.host);
  const std::vector<std::string> hosts = all_gather_strings(communicator, this_host);
  std::vector<watch::RankIdentity> ranks;
  for (std::size_t r = 0; r < pids.size(); ++r) {
    ranks.push_back({.rank = static_cast<int>(r),
                     .pid = pids[r],
                     .host = names[r],
                     .on_this_host = hosts[r] == this_host});
  }
  return ranks;
}

watch::Rendezvous rendezvous_at(const FileDescriptor& listener, const watch::Token& token, bool single_host) {
  return {.token = token,
          .port = watch::port_of(listener),
          .addresses = single_host ? std::vector<std::string>{"127.0.0.1"} : watch::own_addresses()};
}

// Collective. The leader's text for everyone.
std::string broadcast_text(Communicator& communicator, const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  std::vector<std::byte> message(bytes.begin(), bytes.end());
  communicator.broadcast(message);
  return {reinterpret_cast<const char*>(message.data()), message.size()};
}

// Collective. Throws on every rank when one of them has an error to report.
void throw_if_any(Communicator& communicator, const std::string& error) {
  const std::vector<std::string> errors = all_gather_strings(communicator, error);
  for (std::size_t r = 0; r < errors.size(); ++r) {
    if (!errors[r].empty()) throw std::runtime_error("rank " + std::to_string(r) + ": " + errors[r]);
  }
}

}  // namespace

struct Liveness::State {
  std::unique_ptr<watch::Watchdog> watchdog;
  int exceptions_in_flight = std::uncaught_exceptions();

  void lead(Communicator& communicator, const LocalRanks& local, watch::WatchdogSettings settings) {
    std::string place_text;
    std::string error;
    try {
      FileDescriptor listener;
      if (communicator.size() > 1) {
        listener = watch::listen(local.single_host);
        place_text = watch::encode(rendezvous_at(listener, settings.token, local.single_host));
      }
      watchdog = std::make_unique<watch::Watchdog>(std::move(settings), std::move(listener));
    } catch (const std::exception& e) {
      error = e.what();
    }
    broadcast_text(communicator, place_text);
    throw_if_any(communicator, error);
  }

  void follow(Communicator& communicator, watch::WatchdogSettings settings) {
    const std::string place_text = broadcast_text(communicator, "");
    std::string error;
    try {
      const watch::Rendezvous place = watch::decode_rendezvous(place_text);
      settings.token = place.token;
      watchdog = std::make_unique<watch::Watchdog>(std::move(settings),
                                                   watch::join(place, communicator.rank(), kJoinLimit));
    } catch (const std::exception& e) {
      error = e.what();
    }
    throw_if_any(communicator, error);
  }
};

Liveness::Liveness(Communicator& communicator, const LocalRanks& local, const LivenessSettings& settings,
                   OnLost on_lost)
    : state_(std::make_unique<State>()) {
  watch::WatchdogSettings watched{.rank = communicator.rank(),
                                  .ranks = identify_ranks(communicator, local),
                                  .token = watch::random_token(),
                                  .watch_launcher = started_by_mpi_launcher(),
                                  .stuck_after = settings.stuck_after,
                                  .heartbeat = settings.heartbeat,
                                  .join_limit = kJoinLimit + kJoinGrace,
                                  .on_lost = std::move(on_lost)};
  if (communicator.is_leader()) {
    state_->lead(communicator, local, std::move(watched));
  } else {
    state_->follow(communicator, std::move(watched));
  }
}

// A rank that leaves because of an exception has not ended in good order: the others must not wait for it.
Liveness::~Liveness() {
  if (std::uncaught_exceptions() > state_->exceptions_in_flight) state_->watchdog->leave_without_goodbye();
}

void Liveness::working(const char* what, std::uint64_t step) {
  state_->watchdog->report(watch::RankState::working, what, step);
}

void Liveness::waiting(const char* what, std::uint64_t step) {
  state_->watchdog->report(watch::RankState::waiting, what, step);
}

void Liveness::idle() {
  state_->watchdog->report(watch::RankState::idle, "", 0);
}

std::vector<RankStatus> Liveness::ranks() const {
  return state_->watchdog->ranks();
}

void Liveness::fail(const std::string& message) {
  state_->watchdog->fail(message);
}

void Liveness::request_drain() {
  state_->watchdog->request_drain();
}

void Liveness::on_drain_requested(std::function<void()> handler) {
  state_->watchdog->on_drain_requested(std::move(handler));
}

}  // namespace sinkstream
