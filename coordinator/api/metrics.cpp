#include "coordinator/api/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <functional>
#include <iterator>
#include <limits>
#include <vector>

#include "base/durations.h"
#include "coordinator/api/engine_health.h"
#include "coordinator/api/journal/journal.h"
#include "coordinator/api/process_metrics.h"
#include "coordinator/api/quota/token_quota.h"
#include "coordinator/api/retries/answer_records.h"
#include "coordinator/api/served_model.h"
#include "coordinator/api/sessions/session_registry.h"

namespace sinkstream {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

const prometheus::Histogram::BucketBoundaries kSecondsToFirstToken = {
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800};
const prometheus::Histogram::BucketBoundaries kSecondsBetweenTokens = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10};
const prometheus::Histogram::BucketBoundaries kRequestSeconds = {0.005, 0.05, 0.25, 1,    2.5, 10,
                                                                 30,    60,   300,  1800, 7200};

prometheus::Histogram& histogram(prometheus::Registry& registry, const char* name, const char* help,
                                 const prometheus::Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

MetricFamily family(const char* name, const char* help, MetricType type, double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  metric.counter.value = value;
  return {name, help, type, {metric}};
}

MetricFamily build_info(const ApiSettings& settings) {
  MetricFamily info =
      family("sinkstream_build_info", "Version and served model; always 1.", MetricType::Gauge, 1);
  info.metric[0].label = {{"version", SINKSTREAM_VERSION}, {"model", settings.model_name}};
  return info;
}

std::vector<MetricFamily> session_families(const SessionRegistry& sessions) {
  return {family("sinkstream_open_sessions", "Sessions that clients keep.", MetricType::Gauge,
                 static_cast<double>(sessions.size())),
          family("sinkstream_stored_sessions", "Of those, the ones that the engine does not have.",
                 MetricType::Gauge, static_cast<double>(sessions.in_engine().num_elsewhere()))};
}

std::vector<MetricFamily> record_families(const AnswerRecords& records) {
  return {family("sinkstream_recorded_answers", "Requests that a retry would be known for.",
                 MetricType::Gauge, static_cast<double>(records.size())),
          family("sinkstream_recorded_answer_bytes", "Memory that these take, with their answers.",
                 MetricType::Gauge, static_cast<double>(records.bytes())),
          family("sinkstream_replays_total", "Retries that got the answer to an earlier attempt.",
                 MetricType::Counter, static_cast<double>(records.num_replays()))};
}

// Of sessions on disk; 0 where they are not kept.
std::vector<MetricFamily> journal_families(const Journal* journal) {
  const Journal::Stats stats = journal ? journal->stats() : Journal::Stats{};
  return {family("sinkstream_journal_bytes", "Sessions on disk.", MetricType::Gauge,
                 static_cast<double>(stats.bytes)),
          family("sinkstream_journal_writes_total", "Transactions in which changes of sessions were written.",
                 MetricType::Counter, static_cast<double>(stats.writes)),
          family("sinkstream_journal_seconds_total", "What these took.", MetricType::Counter,
                 stats.write_seconds),
          family("sinkstream_journal_failures_total", "Changes of sessions that could not be written.",
                 MetricType::Counter, static_cast<double>(stats.failures))};
}

std::vector<MetricFamily> quota_families(const TokenQuota& quota) {
  return {family("sinkstream_quota_refusals_total", "Requests whose key had no tokens left for them.",
                 MetricType::Counter, static_cast<double>(quota.num_refusals()))};
}

MetricFamily histogram_family(const char* name, const char* help, const DurationHistogram& histogram) {
  prometheus::ClientMetric metric;
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    const bool bounded = i < DurationHistogram::kBounds.size();
    count += static_cast<std::uint64_t>(histogram.counts[i]);
    metric.histogram.bucket.push_back(
        {count, bounded ? DurationHistogram::kBounds[i] : std::numeric_limits<double>::infinity()});
  }
  metric.histogram.sample_count = count;
  metric.histogram.sample_sum = histogram.sum;
  return {name, help, MetricType::Histogram, {metric}};
}

// One series a rank.
MetricFamily rank_family(const char* name, const char* help, MetricType type,
                         const std::vector<RankStatus>& ranks,
                         const std::function<void(const RankStatus&, prometheus::ClientMetric&)>& fill) {
  MetricFamily family{name, help, type, {}};
  for (const RankStatus& rank : ranks) {
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    metric.label = {{"rank", std::to_string(rank.rank)}};
    fill(rank, metric);
  }
  return family;
}

std::vector<MetricFamily> rank_families(const std::vector<RankStatus>& ranks) {
  using Metric = prometheus::ClientMetric;
  return {
      rank_family("sinkstream_rank_up", "1 while the rank is heard of.", MetricType::Gauge, ranks,
                  [](const RankStatus& rank, Metric& metric) { metric.gauge.value = rank.up ? 1 : 0; }),
      rank_family("sinkstream_rank_step_lag_seconds",
                  "Since the rank last came further in its step; 0 between steps.", MetricType::Gauge, ranks,
                  [](const RankStatus& rank, Metric& metric) { metric.gauge.value = rank.step_lag_seconds; }),
      rank_family("sinkstream_collective_seconds",
                  "The rank's sums and gathers over all ranks, waiting included.", MetricType::Summary, ranks,
                  [](const RankStatus& rank, Metric& metric) {
                    metric.summary.sample_count = rank.collectives;
                    metric.summary.sample_sum = rank.collective_seconds;
                  }),
  };
}

// How full the caches are: resident tokens of those that all slots could hold.
double cache_usage(const EngineStats& stats, const EngineLimits& limits) {
  const double capacity =
      static_cast<double>(limits.num_slots) * static_cast<double>(limits.session.remembered_tokens());
  return capacity > 0 ? static_cast<double>(stats.resident_tokens) / capacity : 0;
}

std::vector<MetricFamily> engine_families(const EngineStats& stats, const EngineLimits& limits) {
  const auto gauge = [](const char* name, const char* help, double value) {
    return family(name, help, MetricType::Gauge, value);
  };
  const auto counter = [](const char* name, const char* help, double value) {
    return family(name, help, MetricType::Counter, value);
  };
  const auto number = [](std::int64_t value) { return static_cast<double>(value); };
  return {
      gauge("sinkstream_requests_running", "Generations in a slot.", number(stats.running)),
      gauge("sinkstream_requests_waiting", "Generations in the queue.", number(stats.waiting)),
      gauge("sinkstream_sessions", "Sessions that hold a slot.", number(stats.used_slots)),
      gauge("sinkstream_slots", "Places for sessions.", limits.num_slots),
      gauge("sinkstream_resident_sessions", "Sessions that clients keep and that hold a slot.",
            number(stats.resident_sessions)),
      gauge("sinkstream_parked_sessions", "Sessions that clients keep, parked in the host's memory.",
            number(stats.parked_sessions)),
      gauge("sinkstream_parking_places", "Places for sessions that are parked.", limits.num_places),
      gauge("sinkstream_parked_bytes",
            "What parked sessions take of the hosts' memory at most, on all ranks together.",
            number(stats.parked_bytes)),
      counter("sinkstream_session_parks_total", "Sessions that left their slot to others.",
              number(stats.parks)),
      counter("sinkstream_session_restores_total", "Parked sessions that came back into a slot.",
              number(stats.restores)),
      counter("sinkstream_snapshots_saved_total", "Snapshots of sessions that are on every rank's disk.",
              number(stats.snapshots_saved)),
      counter("sinkstream_snapshots_taken_up_total", "Sessions that were read from a snapshot.",
              number(stats.snapshots_taken_up)),
      counter("sinkstream_snapshot_failures_total",
              "Snapshots that could not be written or read on some rank; their sessions lost nothing.",
              number(stats.snapshots_failed)),
      gauge("sinkstream_snapshot_bytes", "Files of snapshots on the leader's disk, of its own slices.",
            number(stats.snapshot_bytes)),
      gauge("sinkstream_kv_cache_usage_ratio", "Resident tokens of those that all slots could hold.",
            cache_usage(stats, limits)),
      gauge("sinkstream_kv_resident_tokens", "Tokens in all caches now.", number(stats.resident_tokens)),
      counter("sinkstream_kv_evicted_tokens_total", "Tokens that sessions have forgotten.",
              number(stats.evicted_tokens)),
      counter("sinkstream_prompt_tokens_total", "Prompt tokens taken in.", number(stats.prompt_tokens)),
      counter("sinkstream_replayed_tokens_total",
              "Of those, tokens that a session had seen before, and took in anew.",
              number(stats.replayed_tokens)),
      counter("sinkstream_generation_tokens_total", "Tokens generated.", number(stats.generated_tokens)),
      histogram_family("sinkstream_step_seconds", "Steps of the worker group.", stats.steps),
      histogram_family("sinkstream_request_queue_seconds", "Of a generation, from its submission to a slot.",
                       stats.queueing),
      histogram_family("sinkstream_prefill_seconds", "Of a generation, from its slot to its prompt taken in.",
                       stats.prefill),
      histogram_family("sinkstream_decode_seconds", "Of a generation, from its first token to its end.",
                       stats.decode),
      gauge("sinkstream_seconds_since_step", "How long the present step has taken; 0 between steps.",
            stats.seconds_since_step),
      gauge("sinkstream_healthy", "1 unless a step takes too long or a rank is silent.",
            makes_steps(stats, limits) && !silent_rank(stats) ? 1 : 0),
  };
}

}  // namespace

struct Metrics::State {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests = prometheus::BuildCounter()
                                                          .Name("sinkstream_requests_total")
                                                          .Help("HTTP requests by endpoint and status.")
                                                          .Register(registry);
  prometheus::Family<prometheus::Counter>& finished = prometheus::BuildCounter()
                                                          .Name("sinkstream_request_finished_total")
                                                          .Help("Ends of generations by reason.")
                                                          .Register(registry);
  prometheus::Family<prometheus::Counter>& aborted =
      prometheus::BuildCounter()
          .Name("sinkstream_aborted_total")
          .Help("Requests that ended before their answer, by cause.")
          .Register(registry);
  prometheus::Histogram& first_token =
      histogram(registry, "sinkstream_time_to_first_token_seconds",
                "From a request's first byte to its first generated token.", kSecondsToFirstToken);
  prometheus::Histogram& token_gap = histogram(registry, "sinkstream_inter_token_latency_seconds",
                                               "Between two tokens of one choice.", kSecondsBetweenTokens);
  prometheus::Histogram& duration =
      histogram(registry, "sinkstream_request_duration_seconds",
                "From a request's first byte to the last one of its answer.", kRequestSeconds);
};

// Series that are known beforehand start at 0, so that their first increase is seen as one.
Metrics::Metrics() : state_(std::make_unique<State>()) {
  for (const char* reason : {"stop", "length", "failed", "abandoned"})
    state_->finished.Add({{"reason", reason}});
  for (const char* why : {"client_left", "client_stalled", "server_ended", "engine_failed"}) {
    state_->aborted.Add({{"why", why}});
  }
}
Metrics::~Metrics() = default;

void Metrics::expect_endpoint(const std::string& path) {
  state_->requests.Add({{"endpoint", path}, {"code", "200"}});
}

void Metrics::count_request(const AnsweredRequest& request) {
  state_->requests.Add({{"endpoint", request.endpoint}, {"code", std::to_string(request.status)}})
      .Increment();
  state_->duration.Observe(request.seconds);
}

void Metrics::count_finish(const char* reason) {
  state_->finished.Add({{"reason", reason}}).Increment();
}

void Metrics::count_abort(const char* why) {
  state_->aborted.Add({{"why", why}}).Increment();
}

void Metrics::observe_first_token(std::chrono::steady_clock::duration since_request) {
  state_->first_token.Observe(to_seconds(since_request));
}

void Metrics::observe_token_gap(std::chrono::steady_clock::duration gap) {
  state_->token_gap.Observe(to_seconds(gap));
}

std::string Metrics::render(const ApiContext& api) const {
  std::vector<MetricFamily> families = state_->registry.Collect();
  const EngineStats stats = api.engine.stats();
  for (auto& more : {engine_families(stats, api.engine.limits()),
                     {build_info(api.settings)},
                     session_families(api.sessions),
                     record_families(api.records),
                     quota_families(api.quota),
                     journal_families(api.journal),
                     rank_families(stats.ranks),
                     process_families()}) {
    families.insert(families.end(), more.begin(), more.end());
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace sinkstream
