// Commands of every kind in any order at any moment, late credit and operations that fail, given to a
// scheduler; and what must hold whatever happens.
#pragma once

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "tests/worker/engine/modelled_engine.h"

namespace sinkstream {

class RandomCommands {
 public:
  RandomCommands(int depth, unsigned seed)
      : random_(seed),
        slots_(1 + below(4)),
        places_(std::max(0, below(9) - 2)),
        engine_(depth, random_limits()) {
    engine_.launched = [this](const StepPlan& plan) { look_at(plan); };
  }

  void run(int commands);

  // Of the whole run.
  std::int64_t parks = 0, restores = 0;

 private:
  struct Asked {
    Generate command;
    std::vector<TokenId> content;       // of its session before
    std::vector<std::int64_t> granted;  // by choice
    bool cancelled = false, may_fail = false;
    std::vector<std::size_t> told_at_end;  // events, by choice; as soon as its end was seen
    std::set<std::int32_t> stopped;
  };
  struct Kept {
    std::vector<TokenId> content;
    RequestId request = 0;  // of its turn
  };
  struct Fork {
    SessionId id = kNoSession;
    std::vector<TokenId> content;
  };
  int below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }
  SchedulerLimits random_limits() {
    SchedulerLimits limits = small_limits(slots_, places_);
    limits.prefill_slowdown = below(3);
    return limits;
  }
  template <typename Map>
  typename Map::iterator any_of(Map& map) {
    auto it = map.begin();
    std::advance(it, below(static_cast<int>(map.size())));
    return it;
  }
  void command();

  // ---- Turns
  Generate random_turn();
  RequestId send(Generate command, std::vector<TokenId> content);
  void ask();
  void grant();
  void grant(RequestId request, Asked& asked, std::int32_t choice, std::int64_t events);
  void cancel();
  void stop();

  // ---- Sessions
  void open();
  void begin();
  void go_back();
  void fork();
  void settle_forks();
  void close();

  // ---- Operations that fail
  void fail_next();
  void look_at(const StepPlan& plan);
  bool is_known(SessionId id);

  // ---- What must hold
  static std::vector<TokenId> output_of(const Told& told);
  static std::vector<TokenId> input_of(const Asked& asked, std::int32_t choice);
  void check_choices();
  void check_choice(Asked& asked, std::int32_t choice, const Told& told);
  void settle();
  void expect_counts();
  void finish();
  void expect_nobody_waits();

  std::mt19937 random_;
  std::int32_t slots_, places_;
  ModelledEngine engine_;
  std::map<RequestId, Asked> asked_;
  std::map<SessionId, Kept> kept_;
  std::map<RequestId, Fork> forks_;  // under way
  SessionId next_ = 1;
  bool fails_ = false, failed_any_ = false, lost_a_place_ = false;
  std::set<Standing> must_be_vacated_;
};

}  // namespace sinkstream
