#include "coordinator/api/request/generation_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "coordinator/api/request/unsupported_fields.h"
#include "coordinator/api/served_model.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 256;
constexpr std::int64_t kMaxPromptLogprobs = 20;
constexpr std::size_t kMaxBiases = 1024;
constexpr std::size_t kMaxStopTokens = 64;

std::uint64_t random_seed() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return random();
}

void check_size(const RequestFields& fields, const char* name, const json& list, std::size_t most) {
  if (list.size() <= most) return;
  throw fields.error(name, fmt::format("'{}' may have at most {} entries, not {}.", name, most, list.size()));
}

std::string stop_string(const json& value, const std::string& name) {
  if (!value.is_string()) throw bad_request("'" + name + "' must be a string.", name, "invalid_type");
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty() || text.size() > kMaxStopBytes) {
    throw bad_request(fmt::format("'{}' must have 1 to {} bytes.", name, kMaxStopBytes), name);
  }
  return text;
}

std::vector<std::string> read_stop(RequestFields& fields) {
  const json* stop = fields.value("stop");
  if (!stop) return {};
  if (stop->is_string()) return {stop_string(*stop, "stop")};
  if (!stop->is_array())
    throw fields.error("stop", "'stop' must be a string or an array of strings.", "invalid_type");
  check_size(fields, "stop", *stop, kMaxStops);
  std::vector<std::string> stops;
  for (const json& entry : *stop) stops.push_back(stop_string(entry, fmt::format("stop[{}]", stops.size())));
  return stops;
}

std::vector<TokenId> read_stop_token_ids(RequestFields& fields, std::int64_t vocab_size) {
  const json* ids = fields.array("stop_token_ids");
  if (!ids) return {};
  check_size(fields, "stop_token_ids", *ids, kMaxStopTokens);
  return token_id_values(*ids, vocab_size, "stop_token_ids");
}

std::vector<std::pair<TokenId, float>> read_logit_bias(RequestFields& fields, std::int64_t vocab_size) {
  const json* object = fields.value("logit_bias");
  if (!object) return {};
  if (!object->is_object())
    throw fields.error("logit_bias", "'logit_bias' must be an object.", "invalid_type");
  check_size(fields, "logit_bias", *object, kMaxBiases);
  std::vector<std::pair<TokenId, float>> biases;
  for (const auto& item : object->items()) {
    const std::string& key = item.key();
    TokenId token = -1;
    const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), token);
    const bool is_id = failure == std::errc{} && end == key.data() + key.size() && token >= 0;
    // Written one way only, "1" and not "01": no token can come twice.
    if (!is_id || token >= vocab_size || key != std::to_string(token)) {
      throw fields.error("logit_bias",
                         fmt::format("A key of 'logit_bias' is no token id from 0 to {}.", vocab_size - 1));
    }
    const double bias = number_value(item.value(), {-100, 100}, "logit_bias." + key);
    biases.emplace_back(token, static_cast<float>(bias));
  }
  return biases;
}

SamplingParams read_sampling(RequestFields& fields, const EngineLimits& limits) {
  constexpr std::int64_t kAnyLow = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kAnyHigh = std::numeric_limits<std::int64_t>::max();
  // A value so small that it would round to an excluded 0 becomes the smallest that is none.
  const auto number = [&](const char* name, const NumberRange& range, float absent) {
    const auto given = fields.number(name, range);
    if (!given) return absent;
    const auto value = static_cast<float>(*given);
    return range.above_low ? std::max(value, std::numeric_limits<float>::min()) : value;
  };
  SamplingParams sampling;
  sampling.temperature = number("temperature", {0, 2}, sampling.temperature);
  sampling.top_p = number("top_p", {0, 1, true}, sampling.top_p);
  sampling.min_p = number("min_p", {0, 1}, sampling.min_p);
  sampling.repetition_penalty = number("repetition_penalty", {0.01, 2}, sampling.repetition_penalty);
  sampling.presence_penalty = number("presence_penalty", {-2, 2}, sampling.presence_penalty);
  sampling.frequency_penalty = number("frequency_penalty", {-2, 2}, sampling.frequency_penalty);
  sampling.repeat_last_n = static_cast<std::int32_t>(
      fields.integer("repeat_last_n", -1, kMaxRepeatLastN).value_or(sampling.repeat_last_n));
  const std::int64_t top_k =
      fields.integer("top_k", -1, std::numeric_limits<std::int32_t>::max()).value_or(0);
  sampling.top_k = static_cast<std::int32_t>(std::max<std::int64_t>(top_k, 0));  // -1 is off as well
  const auto seed = fields.integer("seed", kAnyLow, kAnyHigh);
  sampling.seed = seed ? static_cast<std::uint64_t>(*seed) : random_seed();
  sampling.logit_bias = read_logit_bias(fields, limits.vocab_size);
  return sampling;
}

void read_streaming(RequestFields& fields, GenerationOptions& options) {
  options.stream = fields.boolean("stream").value_or(false);
  auto stream_options = fields.object("stream_options");
  if (!stream_options) return;
  options.include_usage = stream_options->boolean("include_usage").value_or(false);
  options.continuous_usage = stream_options->boolean("continuous_usage_stats").value_or(false);
  if (!options.stream && (options.include_usage || options.continuous_usage)) {
    throw fields.error("stream_options", "Stream options can only be defined when `stream=True`.");
  }
}

std::optional<std::int32_t> read_prompt_logprobs(RequestFields& fields, const GenerationOptions& options) {
  const auto top = fields.integer("prompt_logprobs", 0, kMaxPromptLogprobs);
  if (!top) return std::nullopt;
  if (options.stream) {
    throw fields.error("prompt_logprobs", "'prompt_logprobs' are not available when `stream=True`.");
  }
  return static_cast<std::int32_t>(*top);
}

// Between special tokens our text has no spaces but those that they bring themselves.
void read_special_tokens(RequestFields& fields, GenerationOptions& options) {
  options.skip_special_tokens = fields.boolean("skip_special_tokens").value_or(true);
  if (options.skip_special_tokens) return fields.ignore({"spaces_between_special_tokens"});
  fields.refuse_unless("spaces_between_special_tokens", true);
}

// In dense mode nothing is ever forgotten, so nothing is truncated.
std::string read_truncation(RequestFields& fields, const EngineLimits& limits) {
  const std::string truncation = fields.string("truncation").value_or("auto");
  if (truncation != "auto" && truncation != "disabled") {
    throw fields.error("truncation", "'truncation' must be \"auto\" or \"disabled\".");
  }
  return limits.session.endless() ? truncation : "disabled";
}

}  // namespace

GenerationOptions read_generation_options(RequestFields& fields, const ApiContext& api) {
  const EngineLimits& limits = api.engine.limits();
  GenerationOptions options;
  options.model = check_model(fields.string("model"), api.settings);
  refuse_unsupported(fields);
  read_streaming(fields, options);
  options.n = fields.integer("n", 1, 16).value_or(1);
  options.sampling = read_sampling(fields, limits);
  options.stop = read_stop(fields);
  options.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  options.prompt_logprobs = read_prompt_logprobs(fields, options);
  options.stop_token_ids = read_stop_token_ids(fields, limits.vocab_size);
  options.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  options.return_token_ids = fields.boolean("return_token_ids").value_or(false);
  options.truncation = read_truncation(fields, limits);
  read_special_tokens(fields, options);
  return options;
}

void read_length(RequestFields& fields, std::int64_t low, const ApiSettings& settings,
                 GenerationOptions& options) {
  const auto newer = fields.integer("max_completion_tokens", low, settings.max_tokens);
  const auto older = fields.integer("max_tokens", low, settings.max_tokens);
  if (newer && older && *newer != *older) {
    throw fields.error("max_tokens", "'max_tokens' and 'max_completion_tokens' contradict each other.");
  }
  options.max_tokens = newer.value_or(older.value_or(settings.default_max_tokens));
  options.min_tokens = fields.integer("min_tokens", 0, settings.max_tokens).value_or(0);
  if (options.min_tokens > options.max_tokens) {
    throw fields.error("min_tokens", fmt::format("'min_tokens' ({}) is larger than the longest answer ({}).",
                                                 options.min_tokens, options.max_tokens));
  }
  options.sampling.min_tokens = options.min_tokens;
}

void check_prompt_length(std::int64_t prompt_tokens, const std::string& truncation,
                         const SessionShape& session) {
  const std::int64_t context = session.remembered_tokens();
  if (prompt_tokens <= context || truncation == "auto") return;
  // OpenAI's words, by which agents know that they must shorten their prompt.
  const char* why =
      !session.endless() ? "" : " where \"truncation\": \"disabled\" forbids it to forget";
  RequestError error = bad_request(
      fmt::format("This model's maximum context length is {} tokens{}. However, your prompt has {} tokens. "
                  "Please reduce its length.",
                  context, why, prompt_tokens),
      "", "context_length_exceeded");
  error.numbers = {{"n_prompt_tokens", prompt_tokens}, {"n_ctx", context}};
  throw error;
}

}  // namespace sinkstream
