#include "coordinator/api/generation_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "coordinator/api/service.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kMaxStops = 4;
constexpr std::size_t kMaxStopBytes = 256;
constexpr std::size_t kMaxBiases = 1024;
constexpr std::size_t kMaxStopTokens = 64;

std::uint64_t random_seed() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return random();
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
  if (stop->size() > kMaxStops)
    throw fields.error("stop", fmt::format("'stop' may have {} entries.", kMaxStops));
  std::vector<std::string> stops;
  for (const json& entry : *stop) stops.push_back(stop_string(entry, fmt::format("stop[{}]", stops.size())));
  return stops;
}

std::vector<TokenId> read_stop_token_ids(RequestFields& fields, std::int64_t vocab_size) {
  const json* ids = fields.array("stop_token_ids");
  if (!ids) return {};
  if (ids->size() > kMaxStopTokens) {
    throw fields.error("stop_token_ids",
                       fmt::format("'stop_token_ids' may have {} entries.", kMaxStopTokens));
  }
  return token_id_values(*ids, vocab_size, "stop_token_ids");
}

std::vector<std::pair<TokenId, float>> read_logit_bias(RequestFields& fields, std::int64_t vocab_size) {
  const json* object = fields.value("logit_bias");
  if (!object) return {};
  if (!object->is_object())
    throw fields.error("logit_bias", "'logit_bias' must be an object.", "invalid_type");
  if (object->size() > kMaxBiases) {
    throw fields.error("logit_bias", fmt::format("'logit_bias' may have {} entries.", kMaxBiases));
  }
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
  if (!options.stream) {
    throw fields.error("stream_options", "Stream options can only be defined when `stream=True`.");
  }
  options.include_usage = stream_options->boolean("include_usage").value_or(false);
}

// In dense mode nothing is ever forgotten, so nothing is truncated.
std::string read_truncation(RequestFields& fields, const EngineLimits& limits) {
  const std::string truncation = fields.string("truncation").value_or("auto");
  if (truncation != "auto" && truncation != "disabled") {
    throw fields.error("truncation", "'truncation' must be \"auto\" or \"disabled\".");
  }
  return limits.max_context > 0 ? "disabled" : truncation;
}

// A sampler that we don't have: `strength` switches it on, the others only tune it.
void refuse_sampler(RequestFields& fields, const char* strength, const json& off,
                    std::initializer_list<const char*> others) {
  fields.refuse_unless(strength, off);
  if (fields.value(strength)) return fields.ignore(others);
  fields.refuse(others);
}

void refuse_samplers(RequestFields& fields) {
  refuse_sampler(fields, "repeat_penalty", 1, {"repeat_last_n"});
  refuse_sampler(fields, "mirostat", 0, {"mirostat_mode", "mirostat_tau", "mirostat_eta"});
  refuse_sampler(
      fields, "dry_multiplier", 0,
      {"dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_range", "dry_sequence_breakers"});
  refuse_sampler(fields, "xtc_probability", 0, {"xtc_threshold"});
  refuse_sampler(fields, "dynatemp_range", 0, {"dynatemp_exponent"});
  for (const char* name : {"typical_p", "tfs_z"}) fields.refuse_unless(name, 1);
  for (const char* name : {"top_a", "no_repeat_ngram_size"}) fields.refuse_unless(name, 0);
}

void refuse_unsupported(RequestFields& fields) {
  refuse_samplers(fields);
  fields.refuse({"tools",
                 "functions",
                 "audio",
                 "reasoning",
                 "reasoning_effort",
                 "verbosity",
                 "web_search_options",
                 "prediction",
                 "grammar",
                 "json_schema",
                 "structured_outputs",
                 "guided_json",
                 "guided_regex",
                 "guided_choice",
                 "guided_grammar",
                 "logits_processors",
                 "bad_words",
                 "allowed_token_ids",
                 "prompt_logprobs",
                 "truncate_prompt_tokens",
                 "n_predict",
                 "chat_template",
                 "chat_template_kwargs",
                 "documents",
                 "mm_processor_kwargs"});
  fields.refuse_unless("modalities", json::array({"text"}));
  fields.refuse_unless("min_tokens", 0);
  fields.refuse_unless("length_penalty", 1.0);
  fields.refuse_unless("use_beam_search", false);
  fields.refuse_unless("skip_special_tokens", true);
  fields.refuse_unless("include_stop_str_in_output", false);
  fields.refuse_unless("function_call", "none");
  const json* tool_choice = fields.value("tool_choice");
  if (tool_choice && *tool_choice != "none") fields.refuse_unless("tool_choice", "auto");
  if (auto format = fields.object("response_format")) format->refuse_unless("type", "text");
  fields.ignore({"user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier",
                 "prompt_cache_key", "prompt_cache_retention", "priority", "cache_salt"});
}

}  // namespace

GenerationOptions read_generation_options(RequestFields& fields, const EngineLimits& limits) {
  check_model(fields.string("model"), limits);
  refuse_unsupported(fields);
  GenerationOptions options;
  read_streaming(fields, options);
  options.n = fields.integer("n", 1, 16).value_or(1);
  options.sampling = read_sampling(fields, limits);
  options.stop = read_stop(fields);
  options.stop_token_ids = read_stop_token_ids(fields, limits.vocab_size);
  options.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  options.return_token_ids = fields.boolean("return_token_ids").value_or(false);
  options.truncation = read_truncation(fields, limits);
  return options;
}

std::int64_t read_max_tokens(RequestFields& fields, std::int64_t low, const EngineLimits& limits) {
  const auto newer = fields.integer("max_completion_tokens", low, limits.max_tokens);
  const auto older = fields.integer("max_tokens", low, limits.max_tokens);
  if (newer && older && *newer != *older) {
    throw fields.error("max_tokens", "'max_tokens' and 'max_completion_tokens' contradict each other.");
  }
  return newer.value_or(older.value_or(limits.default_max_tokens));
}

void check_prompt_length(std::int64_t prompt_tokens, const std::string& truncation,
                         const EngineLimits& limits) {
  const std::int64_t context = context_tokens(limits);
  if (prompt_tokens <= context || truncation == "auto") return;
  RequestError error = bad_request(
      fmt::format("The prompt has {} tokens; the session remembers {}{}.", prompt_tokens, context,
                  limits.max_context > 0 ? "" : " and \"truncation\": \"disabled\" forbids it to forget"),
      "", "context_length_exceeded");
  error.numbers = {{"n_prompt_tokens", prompt_tokens}, {"n_ctx", context}};
  throw error;
}

}  // namespace sinkstream
