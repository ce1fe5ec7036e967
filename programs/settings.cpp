#include "programs/settings.h"

#include <algorithm>
#include <charconv>
#include <iomanip>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

namespace sinkstream {
namespace {

constexpr std::int64_t kBillion = 1'000'000'000;

template <typename Number>
std::string show(Number value) {
  std::ostringstream out;
  out << std::setprecision(std::numeric_limits<float>::max_digits10) << value;  // no exponent for a year
  return out.str();
}

// The number, or no value when it is none or out of range. A quoted value is text.
template <typename Number>
std::optional<Number> parse_number(const SettingValue& value, Number low, Number high) {
  Number number{};
  const char* end = value.text.data() + value.text.size();
  const auto [stop, error] = std::from_chars(value.text.data(), end, number);
  if (value.quoted || error != std::errc() || stop != end || !(number >= low && number <= high))
    return std::nullopt;
  return number;
}

std::string must_be(const std::string& kind, const SettingValue& value) {
  return "must be " + kind + ", not '" + value.text + "'";
}

template <typename Number>
std::string range_text(const char* noun, Number low, Number high) {
  return std::string(noun) + " from " + show(low) + " to " + show(high);
}

// Builders of settings. `field(config)` is the member that a setting fills.
template <typename Number, typename Field>
Setting number(std::string key, const char* noun, Field field, Number low, Number high, std::string meaning) {
  const std::string kind = range_text(noun, low, high);
  Config defaults;
  return {std::move(key), kind, show(field(defaults)), std::move(meaning),
          [=](Config& config, const SettingValue& value) -> std::string {
            const auto parsed = parse_number<Number>(value, low, high);
            if (!parsed) return must_be(kind, value);
            field(config) = *parsed;
            return "";
          }};
}

template <typename Field>
Setting integer(std::string key, Field field, std::int64_t low, std::int64_t high, std::string meaning) {
  return number<std::int64_t>(std::move(key), "a whole number", field, low, high, std::move(meaning));
}

template <typename Field>
Setting real(std::string key, Field field, double low, double high, std::string meaning) {
  return number<double>(std::move(key), "a number", field, low, high, std::move(meaning));
}

template <typename Field>
Setting integer_or_auto(std::string key, Field field, std::int64_t low, std::int64_t high,
                        std::string meaning) {
  const std::string kind = range_text("auto, or a whole number", low, high);
  return {std::move(key), kind, "auto", std::move(meaning),
          [=](Config& config, const SettingValue& value) -> std::string {
            const auto parsed = parse_number(value, low, high);
            if (!parsed && value.text != "auto") return must_be(kind, value);
            field(config) = parsed;
            return "";
          }};
}

template <typename Field>
Setting text(std::string key, Field field, std::string kind, std::string meaning) {
  Config defaults;
  std::string default_text = field(defaults);
  return {std::move(key), std::move(kind), std::move(default_text), std::move(meaning),
          [=](Config& config, const SettingValue& value) -> std::string {
            field(config) = value.text;
            return "";
          }};
}

template <typename Field>
Setting boolean(std::string key, Field field, std::string meaning) {
  return {std::move(key), "true or false", "false", std::move(meaning),
          [=](Config& config, const SettingValue& value) -> std::string {
            if (value.quoted || (value.text != "true" && value.text != "false")) {
              return must_be("true or false", value);
            }
            field(config) = value.text == "true";
            return "";
          }};
}

// Any number of items. `check` says what is wrong with one, or nothing.
template <typename Field, typename Check>
Setting list(std::string key, Field field, std::string kind, Check check, std::string meaning) {
  Config defaults;
  std::string default_text;
  for (const std::string& item : field(defaults)) default_text += (default_text.empty() ? "" : ", ") + item;
  Setting setting{std::move(key), std::move(kind), "[" + default_text + "]", std::move(meaning),
                  [=](Config& config, const SettingValue& value) -> std::string {
                    for (const std::string& item : value.items) {
                      const std::string problem = item.empty() ? "is empty" : check(item);
                      if (!problem.empty()) return "'" + item + "' " + problem;
                    }
                    field(config) = value.items;
                    return "";
                  }};
  setting.is_list = true;
  return setting;
}

// One of some words. `later` are words that the design knows and this version does not do.
template <typename Field>
Setting choice(std::string key, Field field, std::vector<std::string> words, std::vector<std::string> later,
               std::string meaning) {
  Config defaults;
  std::string default_text = field(defaults);
  const std::string kind =
      std::accumulate(std::next(words.begin()), words.end(), words.front(),
                      [](std::string all, const std::string& word) { return all + " | " + word; });
  return {std::move(key), kind, std::move(default_text), std::move(meaning),
          [=](Config& config, const SettingValue& value) -> std::string {
            if (std::find(words.begin(), words.end(), value.text) != words.end()) {
              field(config) = value.text;
              return "";
            }
            const bool known = std::find(later.begin(), later.end(), value.text) != later.end();
            return (known ? "'" + value.text + "' is not available in this version; "
                          : "'" + value.text + "' is unknown; ") +
                   "choose " + kind;
          }};
}

#define FIELD(member)            \
  [](Config & config) -> auto& { \
    return config.member;        \
  }

std::vector<Setting> make_table() {
  const std::string modes = "sink | window | dense";
  Setting mode{
      "cache.mode", modes, "sink",
      "sink: first tokens and a window stay; window: only the window; dense: everything, up to max_context",
      [=](Config& config, const SettingValue& value) -> std::string {
        if (value.text == "sink")
          config.cache.mode = CacheMode::sink;
        else if (value.text == "window")
          config.cache.mode = CacheMode::window;
        else if (value.text == "dense")
          config.cache.mode = CacheMode::dense;
        else
          return must_be(modes, value);
        return "";
      }};
  Setting path{"model.path", "a directory", "",
               "the checkpoint: config.json, *.safetensors, tokenizer.json; relative to this file",
               [](Config& config, const SettingValue& value) -> std::string {
                 if (value.text.empty()) return "must name a directory";
                 config.model.path = value.text;
                 return "";
               }};

  Setting session_directory{
      "sessions.directory", "a directory, or empty", "",
      "where the leader keeps sessions on disk, so that they outlive it; relative to this file; "
      "empty: in memory only",
      [](Config& config, const SettingValue& value) -> std::string {
        config.sessions.directory = value.text;
        return "";
      }};

  return {
      path,
      text("model.name", FIELD(model.name), "a name", "what clients call it; default: the directory's name"),
      list(
          "model.aliases", FIELD(model.aliases), "a list of names", [](const std::string&) { return ""; },
          "further names that clients may call it, e.g. those that they cannot change"),
      choice("model.weights", FIELD(model.weights), {"bf16", "f32", "int8", "int4"}, {"f16", "fp8"},
             "format of the weights in memory"),
      text("model.sink_token", FIELD(model.sink_token), "a token's name",
           "a sink that the model was trained with, put before every session; empty: none"),
      mode,
      integer("cache.sink_tokens", FIELD(cache.sink_tokens), 0, 65536,
              "first tokens that stay for ever (sink mode)"),
      integer("cache.window_tokens", FIELD(cache.window_tokens), 1, 16777216,
              "newest tokens that stay (sink and window mode)"),
      integer("cache.max_sink_tokens", FIELD(cache.max_sink_tokens), 0, 65536,
              "room for sinks in each session (sink mode)"),
      integer("cache.slack_tokens", FIELD(cache.slack_tokens), 1, 65536,
              "ring places beyond the window; bounds a session's prompt tokens a step"),
      choice("cache.type", FIELD(cache.type), {"bf16", "f32", "int8"}, {"fp8"},
             "type of the window's keys and values; int8: on CPUs"),
      integer_or_auto("cache.slots", FIELD(cache.slots), 1, 65536, "sessions that are resident at once"),
      integer_or_auto("cache.max_context", FIELD(cache.max_context), 1, 16777216,
                      "tokens of a session (dense mode); auto: the trained context"),
      choice(
          "parallel.device", FIELD(parallel.device), {"auto", "cpu", "cuda", "reference"}, {},
          "what computes; auto: cuda where there is a GPU for it; reference: plain and slow, the measure of "
          "the others"),
      choice("parallel.communicator", FIELD(parallel.communicator), {"auto", "mpi", "shm", "nccl"}, {},
             "what carries sums between ranks; auto: nccl between GPUs, else shm on one host, else mpi; with "
             "these two ranks may share a GPU"),
      integer_or_auto("parallel.threads", FIELD(parallel.threads), 1, 4096,
                      "threads of each rank; auto: its share of the host's CPUs"),
      real("parallel.stuck_seconds", FIELD(parallel.stuck_seconds), 0.5, 86400,
           "a rank that does nothing for so long ends the group"),
      integer("engine.prefill_chunk", FIELD(engine.prefill_chunk), 1, 65536,
              "prompt tokens that one step takes in, all sessions together"),
      real("engine.prefill_slowdown", FIELD(engine.prefill_slowdown), 0, 1000,
           "how many times as long a step that generates may take for the prompt tokens in it; 0: however "
           "long"),
      integer("engine.max_queue", FIELD(engine.max_queue), 0, 1'000'000,
              "requests that may wait for a slot; more are answered 429"),
      integer("engine.default_max_tokens", FIELD(engine.default_max_tokens), 1, kBillion,
              "max_tokens of a request that names none"),
      integer("engine.max_tokens", FIELD(engine.max_tokens), 1, kBillion,
              "the largest max_tokens a request may ask for"),
      session_directory,
      real("sessions.sync_seconds", FIELD(sessions.sync_seconds), 0, 86400,
           "what is written there reaches the disk within so long, for when the host fails; 0: before it is "
           "told"),
      integer_or_auto("sessions.max_sessions", FIELD(sessions.max_sessions), 0, 1'000'000,
                      "sessions that clients may keep; auto: as many as can be parked, and half of the slots "
                      "at least; 10000 where they are kept on disk"),
      integer_or_auto("sessions.max_sessions_per_key", FIELD(sessions.max_sessions_per_key), 0, 1'000'000,
                      "of those, the ones that one API key may keep; auto: all"),
      integer_or_auto(
          "sessions.parked_bytes", FIELD(parking.bytes), 0, 1LL << 50,
          "memory of its host that each rank may take for sessions that rest and leave their slots "
          "to others; auto: a quarter of what is left, for 1024 sessions at most"),
      real("sessions.ttl_seconds", FIELD(sessions.ttl_seconds), 0.01, 31536000,
           "a session that is not used for so long ends; a client may ask for less"),
      integer("sessions.transcript_tokens", FIELD(sessions.transcript_tokens), 1, kBillion,
              "newest tokens of each session that can be read back"),
      real("sessions.replay_seconds", FIELD(sessions.replay_seconds), 0, 86400,
           "an answer is kept so long for retries of its request"),
      integer(
          "sessions.replay_bytes", FIELD(sessions.replay_bytes), 0, 1LL << 40,
          "memory for those answers, together; the oldest go first. Their Idempotency-Keys count too, and "
          "have 1 MiB at least"),
      real("sessions.retry_seconds", FIELD(sessions.retry_seconds), 0, 86400,
           "a turn that can be retried waits so long when its client has left, then ends"),
      integer("sessions.snapshot_tokens", FIELD(sessions.snapshot_tokens), 1, kBillion,
              "a session on disk has a snapshot so often that no more than so many tokens need be taken in "
              "anew"),
      real("sessions.snapshot_seconds", FIELD(sessions.snapshot_seconds), 0, 86400,
           "and no more than take about so long, where a snapshot costs a fiftieth of that or less; 0: "
           "however long that takes"),
      integer("sessions.snapshot_bytes", FIELD(sessions.snapshot_bytes), 0, 1LL << 50,
              "disk for the snapshots of each rank; those that were used least recently go first; 0: none "
              "are kept"),
      text("server.listen", FIELD(server.listen), "host:port", "where to listen; port 0 takes a free one"),
      text("server.api_key_file", FIELD(server.api_key_file), "a file",
           "one API key a line; relative to this file; empty: no key needed"),
      boolean("server.insecure", FIELD(server.insecure), "allow listening beyond loopback without keys"),
      list("server.allowed_origins", FIELD(server.allowed_origins), "a list of origins",
           allowed_origin_problem,
           "web pages that may use this server, e.g. https://chat.example.org; *: all"),
      list("server.allowed_hosts", FIELD(server.allowed_hosts), "a list of names", allowed_host_problem,
           "names of this server beside localhost, e.g. behind a proxy; *: any; counts where no key is asked "
           "for"),
      list("server.trusted_proxies", FIELD(server.trusted_proxies), "a list of addresses and networks",
           trusted_proxy_problem, "proxies whose X-Forwarded-For names the client, for the log"),
      integer("server.max_body_bytes", FIELD(server.max_body_bytes), 1024, 1LL << 32, "largest request body"),
      integer("server.max_header_bytes", FIELD(server.max_header_bytes), 1024, 1 << 24,
              "largest request head"),
      integer("server.max_connections", FIELD(server.max_connections), 1, 1'000'000,
              "connections at once; more wait to be accepted"),
      integer("server.max_live_prompt_tokens", FIELD(server.max_live_prompt_tokens), 1024, 1LL << 36,
              "prompt tokens of all requests at once; more are answered 429"),
      integer_or_auto("server.tokens_per_minute", FIELD(server.tokens_per_minute), 1, 1LL << 40,
                      "tokens that each API key may have a minute, taken in and generated; auto: any number"),
      integer("server.max_stream_buffer_bytes", FIELD(server.max_stream_buffer_bytes), 4096, 1LL << 32,
              "unsent output of a stream before its session pauses"),
      real("server.header_seconds", FIELD(server.header_seconds), 0.01, 86400,
           "a request's head must be complete by then"),
      real("server.body_seconds", FIELD(server.body_seconds), 0.01, 86400, "and its body by then"),
      real("server.idle_seconds", FIELD(server.idle_seconds), 0.01, 86400,
           "how long a connection may stay open between requests"),
      real("server.pipeline_seconds", FIELD(server.pipeline_seconds), 0.01, 86400,
           "requests that pile up behind one that is being answered are dropped then"),
      real("server.stall_seconds", FIELD(server.stall_seconds), 0.01, 86400,
           "a reader that takes nothing for so long is dropped"),
      real("server.ping_seconds", FIELD(server.ping_seconds), 0.01, 86400,
           "a silent stream gets a comment so often"),
      real("server.drain_seconds", FIELD(server.drain_seconds), 0, 86400,
           "streams may go on for so long after a request to end"),
      choice("log.level", FIELD(log.level), {"debug", "info", "warn", "error"}, {},
             "what is written; requests at info, probes at debug"),
      choice("log.format", FIELD(log.format), {"text", "json"}, {}, "lines of text, or a JSON object each"),
  };
}

#undef FIELD

const std::vector<Setting>& table() {
  static const std::vector<Setting> settings = make_table();
  return settings;
}

std::string section_of(const std::string& key) {
  return key.substr(0, key.find('.'));
}

// Levenshtein 1966.
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

const Setting* find_setting(const std::string& key) {
  const auto found = std::find_if(table().begin(), table().end(),
                                  [&](const Setting& setting) { return setting.key == key; });
  return found == table().end() ? nullptr : &*found;
}

bool is_section(const std::string& name) {
  return std::any_of(table().begin(), table().end(),
                     [&](const Setting& setting) { return section_of(setting.key) == name; });
}

std::string nearest_setting(const std::string& key) {
  if (key.size() > 200) return "";
  std::string best;
  std::size_t best_distance = 3 + key.size() / 4;  // farther ones only confuse
  for (const auto& setting : table()) {
    const std::string candidate = key.find('.') == std::string::npos ? section_of(setting.key) : setting.key;
    const std::size_t distance = edit_distance(key, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string describe_settings() {
  std::ostringstream out;
  for (const auto& setting : table()) {
    out << "  " << setting.key << " = " << (setting.default_text.empty() ? "\"\"" : setting.default_text)
        << "\n      " << setting.meaning << " (" << setting.kind << ")\n";
  }
  return out.str();
}

}  // namespace sinkstream
