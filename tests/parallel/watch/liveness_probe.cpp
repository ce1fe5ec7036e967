// A small worker group for the fault tests: works in steps like a real one, and misbehaves when told to.
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <thread>

#include "parallel/communicator/mpi_communicator.h"
#include "parallel/watch/liveness.h"

namespace sinkstream {
namespace {

using std::chrono::milliseconds;

struct Options {
  int run_ms = 1000;  // how long the group works
  int idle_ms = 0;    // and idles before that
  int stuck_ms = 10000;
  int start_limit_ms = 180000;
  bool over_tcp = false;  // as if the ranks were on several hosts
  int misbehaving_rank = -1;
  std::string fault;  // of that rank
};

void say(const std::string& text) {
  std::cout << text + "\n" << std::flush;
}

// Never returns.
void hang() {
  while (true) ::pause();
}

void keep_busy_until(std::chrono::steady_clock::time_point end) {
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Computes for three times as long as counts as stuck, on a CPU that another process takes nearly all of.
void starve(milliseconds stuck_after) {
  const auto end = std::chrono::steady_clock::now() + 3 * stuck_after;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(::sched_getcpu(), &one);
  ::sched_setaffinity(0, sizeof one, &one);  // of this thread, as its priority
  if (::fork() == 0) {
    keep_busy_until(end);
    ::_exit(0);
  }
  ::setpriority(PRIO_PROCESS, 0, 19);
  keep_busy_until(end);
  ::wait(nullptr);
}

void misbehave(const std::string& fault, milliseconds stuck_after, Communicator& communicator,
               Liveness& liveness) {
  if (fault == "stick") {
    liveness.working("a stuck kernel", 7);
    hang();
  } else if (fault == "wait") {
    liveness.waiting("a message that never comes", 7);
    hang();
  } else if (fault == "starve") {
    liveness.working("a step without a CPU", 7);
    starve(stuck_after);
  } else if (fault == "fail") {
    liveness.fail("out of memory");
    hang();
  } else if (fault == "throw") {
    throw std::runtime_error("thrown on purpose");
  } else if (fault == "crash") {
    ::raise(SIGSEGV);
  } else if (fault == "drift") {
    communicator.barrier();
  } else if (fault == "drain") {
    liveness.request_drain();
  }
}

class Probe {
 public:
  Probe(const Options& options, Communicator& communicator, Liveness& liveness)
      : options_(options), communicator_(communicator), liveness_(liveness) {
    liveness_.on_drain_requested([this] { draining_ = true; });
  }

  void run() {
    if (communicator_.is_leader()) {
      std::this_thread::sleep_for(milliseconds(options_.idle_ms));
    }
    const auto end = std::chrono::steady_clock::now() + milliseconds(options_.run_ms);
    for (std::uint64_t step = 1;; ++step) {
      const bool last = draining_ || std::chrono::steady_clock::now() >= end;
      liveness_.idle();
      std::vector<std::byte> plan{static_cast<std::byte>(last)};
      communicator_.broadcast(plan);
      if (plan[0] == std::byte{1}) break;
      if (step == 5 && communicator_.rank() == options_.misbehaving_rank) {
        misbehave(options_.fault, milliseconds(options_.stuck_ms), communicator_, liveness_);
      }
      work(step);
    }
    if (communicator_.is_leader() && draining_) say("drained");
  }

 private:
  void work(std::uint64_t step) {
    liveness_.working("a layer", step);
    std::this_thread::sleep_for(milliseconds(5));
    liveness_.waiting("a sum over ranks", step);
    std::vector<float> values(100, 1.0F);
    communicator_.all_reduce_sum(values);
  }

  const Options& options_;
  Communicator& communicator_;
  Liveness& liveness_;
  std::atomic<bool> draining_{false};
};

// As the worker does: mpirun's SIGTERM mostly means that a rank has died, which the watchdog can say better.
void fail_when_terminated(Liveness& liveness) {
  std::thread([&liveness] {
    sigset_t terminate;
    ::sigemptyset(&terminate);
    ::sigaddset(&terminate, SIGTERM);
    int signal = 0;
    ::sigwait(&terminate, &signal);
    std::this_thread::sleep_for(milliseconds(300));
    liveness.fail("the launcher ends the group");
  }).detach();
}

// Before any thread starts, so that none of them is ended by it.
void block_sigterm() {
  sigset_t terminate;
  ::sigemptyset(&terminate);
  ::sigaddset(&terminate, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &terminate, nullptr);
}

void run(const Options& options) {
  MpiSession session{milliseconds(options.start_limit_ms)};
  Communicator& communicator = session.communicator();
  const std::string me = "rank " + std::to_string(communicator.rank());
  LocalRanks local = find_local_ranks(communicator);
  if (options.over_tcp) local.single_host = false;
  const LivenessSettings settings{.stuck_after = milliseconds(options.stuck_ms)};
  Liveness liveness(communicator, local, settings, [&](const std::string& message) {
    say(me + " lost the group: " + message);
    communicator.abort(message);
    if (options.fault == "slow end") hang();
  });
  fail_when_terminated(liveness);
  say(me + " is pid " + std::to_string(::getpid()));
  Probe(options, communicator, liveness).run();
}

}  // namespace
}  // namespace sinkstream

int main(int argc, char** argv) {
  sinkstream::Options options;
  CLI::App app{"A worker group to be broken."};
  app.add_option("--run-ms", options.run_ms);
  app.add_option("--idle-ms", options.idle_ms);
  app.add_option("--stuck-ms", options.stuck_ms);
  app.add_option("--start-limit-ms", options.start_limit_ms);
  app.add_flag("--over-tcp", options.over_tcp);
  app.add_option("--rank", options.misbehaving_rank);
  app.add_option("--fault", options.fault);
  CLI11_PARSE(app, argc, argv);
  sinkstream::block_sigterm();
  if (options.fault == "absent" &&
      std::getenv("OMPI_COMM_WORLD_RANK") == std::to_string(options.misbehaving_rank)) {
    sinkstream::hang();
  }
  try {
    sinkstream::run(options);
  } catch (const std::exception& error) {
    sinkstream::say(std::string("caught: ") + error.what());
    return 1;
  }
  return 0;
}
