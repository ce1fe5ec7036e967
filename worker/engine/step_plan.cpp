#include "worker/engine/step_plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace sinkstream {
namespace {

constexpr std::uint32_t kMagic =
    0x334b4e53;  // "SNK3"; ranks of different builds must not understand each other

class Writer {
 public:
  template <typename T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    const auto bytes = std::as_bytes(std::span(&value, 1));
    message_.insert(message_.end(), bytes.begin(), bytes.end());
  }
  void count(std::size_t size) { put(static_cast<std::uint32_t>(size)); }
  std::vector<std::byte> take() { return std::move(message_); }

 private:
  std::vector<std::byte> message_;
};

[[noreturn]] void refuse(const std::string& why) {
  throw std::runtime_error("step plan refused: " + why + " (do all ranks run the same build?)");
}

void require(bool condition, const char* why) {
  if (!condition) refuse(why);
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> message) : rest_(message) {}

  template <typename T>
  T get() {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    require(rest_.size() >= sizeof(T), "it is cut short");
    T value;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  bool flag() { return get<std::uint8_t>() != 0; }
  // Never more than the message could hold, so a bad count cannot make us allocate.
  std::size_t count() {
    const auto size = get<std::uint32_t>();
    require(size <= rest_.size(), "a count is larger than the message");
    return size;
  }
  void expect_end() const { require(rest_.empty(), "bytes are left over"); }

 private:
  std::span<const std::byte> rest_;
};

void write(Writer& out, const std::vector<TokenId>& tokens) {
  out.count(tokens.size());
  for (const TokenId token : tokens) out.put(token);
}

std::vector<TokenId> read_tokens(Reader& in) {
  std::vector<TokenId> tokens(in.count());
  for (TokenId& token : tokens) token = in.get<TokenId>();
  return tokens;
}

void write(Writer& out, const SamplingParams& sampling) {
  out.put(sampling.temperature);
  out.put(sampling.top_k);
  out.put(sampling.top_p);
  out.put(sampling.min_p);
  out.put(sampling.repetition_penalty);
  out.put(sampling.presence_penalty);
  out.put(sampling.frequency_penalty);
  out.put(sampling.repeat_last_n);
  write(out, sampling.earlier_output);
  out.put(sampling.seed);
  out.count(sampling.logit_bias.size());
  for (const auto& [token, bias] : sampling.logit_bias) {
    out.put(token);
    out.put(bias);
  }
  out.put(sampling.min_tokens);
  write(out, sampling.end_tokens);
}

SamplingParams read_sampling(Reader& in) {
  SamplingParams sampling;
  sampling.temperature = in.get<float>();
  sampling.top_k = in.get<std::int32_t>();
  sampling.top_p = in.get<float>();
  sampling.min_p = in.get<float>();
  sampling.repetition_penalty = in.get<float>();
  sampling.presence_penalty = in.get<float>();
  sampling.frequency_penalty = in.get<float>();
  sampling.repeat_last_n = in.get<std::int32_t>();
  sampling.earlier_output = read_tokens(in);
  sampling.seed = in.get<std::uint64_t>();
  sampling.logit_bias.resize(in.count());
  for (auto& [token, bias] : sampling.logit_bias) {
    token = in.get<TokenId>();
    bias = in.get<float>();
  }
  sampling.min_tokens = in.get<std::int64_t>();
  sampling.end_tokens = read_tokens(in);
  return sampling;
}

void check(const SamplingParams& sampling, const PlanLimits& limits) {
  const auto is_token = [&](TokenId token) { return token >= 0 && token < limits.vocab_size; };
  require(std::isfinite(sampling.temperature) && sampling.temperature >= 0, "temperature out of range");
  require(sampling.top_p > 0 && sampling.top_p <= 1, "top_p out of range");
  require(sampling.min_p >= 0 && sampling.min_p <= 1, "min_p out of range");
  require(sampling.repetition_penalty > 0 && std::isfinite(sampling.repetition_penalty),
          "repetition_penalty out of range");
  require(std::isfinite(sampling.presence_penalty) && std::isfinite(sampling.frequency_penalty),
          "a penalty is not finite");
  require(sampling.repeat_last_n >= -1 && sampling.repeat_last_n <= kMaxRepeatLastN,
          "repeat_last_n out of range");
  require(std::ssize(sampling.earlier_output) <= std::max(sampling.repeat_last_n, 0) &&
              std::all_of(sampling.earlier_output.begin(), sampling.earlier_output.end(), is_token),
          "the earlier output is too long, or a token of it out of range");
  for (const auto& [token, bias] : sampling.logit_bias) {
    require(is_token(token) && std::isfinite(bias), "logit_bias out of range");
  }
  require(sampling.min_tokens >= 0, "min_tokens is negative");
  require(std::all_of(sampling.end_tokens.begin(), sampling.end_tokens.end(), is_token),
          "an end token out of range");
}

void check(const StepPlan& plan, const PlanLimits& limits) {
  const auto is_slot = [&](std::int32_t slot) { return slot >= 0 && slot < limits.num_slots; };
  for (const auto& operation : plan.operations) {
    require(is_slot(operation.slot), "no such slot");
    if (operation.kind == SlotOperation::Kind::close) continue;
    require(operation.kind == SlotOperation::Kind::open, "unknown slot operation");
    require(operation.window.sink_tokens >= 0 && operation.window.sink_tokens <= limits.session.sink_capacity,
            "sinks out of range");
    require(operation.window.window_tokens >= 1 &&
                operation.window.window_tokens <= limits.session.window.window_tokens,
            "window out of range");
    check(operation.sampling, limits);
  }
  require(static_cast<std::int64_t>(plan.rows.size()) <= limits.max_rows, "too many rows");
  for (const auto& row : plan.rows) {
    require(is_slot(row.slot), "no such slot");
    require(row.token == kernels::kLastChosen || (row.token >= 0 && row.token < limits.vocab_size),
            "token out of range");
    require(row.position >= 0, "negative position");
  }
  require(plan.outputs.size() <= plan.rows.size(), "more outputs than rows");
  for (const auto& output : plan.outputs) {
    require(output.row >= 0 && static_cast<std::size_t>(output.row) < plan.rows.size(), "no such row");
    require(output.kind == PlanOutput::Kind::sample || output.kind == PlanOutput::Kind::score,
            "unknown output");
    require(output.target >= 0 && output.target < limits.vocab_size, "target out of range");
    require(output.top_logprobs >= 0 && output.top_logprobs <= limits.max_top_logprobs,
            "top_logprobs out of range");
  }
}

}  // namespace

std::vector<std::byte> encode(const StepPlan& plan) {
  Writer out;
  out.put(kMagic);
  out.put(plan.number);
  out.put(static_cast<std::uint8_t>(plan.last));
  out.count(plan.operations.size());
  for (const auto& operation : plan.operations) {
    out.put(operation.kind);
    out.put(operation.slot);
    if (operation.kind == SlotOperation::Kind::close) continue;
    out.put(operation.window.sink_tokens);
    out.put(operation.window.window_tokens);
    write(out, operation.sampling);
  }
  out.count(plan.rows.size());
  for (const auto& row : plan.rows) {
    out.put(row.slot);
    out.put(row.token);
    out.put(row.position);
  }
  out.count(plan.outputs.size());
  for (const auto& output : plan.outputs) {
    out.put(output.kind);
    out.put(static_cast<std::uint8_t>(output.logprobs));
    out.put(output.row);
    out.put(output.target);
    out.put(output.top_logprobs);
  }
  return out.take();
}

StepPlan decode(std::span<const std::byte> message, const PlanLimits& limits) {
  Reader in(message);
  require(in.get<std::uint32_t>() == kMagic, "it does not begin like one");
  StepPlan plan;
  plan.number = in.get<std::uint64_t>();
  plan.last = in.flag();
  plan.operations.resize(in.count());
  for (auto& operation : plan.operations) {
    operation.kind = in.get<SlotOperation::Kind>();
    operation.slot = in.get<std::int32_t>();
    if (operation.kind == SlotOperation::Kind::close) continue;
    operation.window.sink_tokens = in.get<std::int64_t>();
    operation.window.window_tokens = in.get<std::int64_t>();
    operation.sampling = read_sampling(in);
  }
  plan.rows.resize(in.count());
  for (auto& row : plan.rows) {
    row.slot = in.get<std::int32_t>();
    row.token = in.get<TokenId>();
    row.position = in.get<std::int64_t>();
  }
  plan.outputs.resize(in.count());
  for (auto& output : plan.outputs) {
    output.kind = in.get<PlanOutput::Kind>();
    output.logprobs = in.flag();
    output.row = in.get<std::int32_t>();
    output.target = in.get<TokenId>();
    output.top_logprobs = in.get<std::int32_t>();
  }
  in.expect_end();
  check(plan, limits);
  return plan;
}

std::optional<std::string> refusal(const GenerationRequest& request, const PlanLimits& limits) {
  const auto is_token = [&](TokenId token) { return token >= 0 && token < limits.vocab_size; };
  try {
    check(request.sampling, limits);
    require(!request.prompt.empty(), "no prompt");
    require(std::all_of(request.prompt.begin(), request.prompt.end(), is_token), "a token out of range");
    for (const std::int32_t top : {request.top_logprobs, request.top_prompt_logprobs}) {
      require(top >= 0 && top <= limits.max_top_logprobs, "top_logprobs out of range");
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return std::nullopt;
}

}  // namespace sinkstream
