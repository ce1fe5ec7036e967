#include "engine/messages.h"

#include <cstdint>
#include <tuple>

#include "base/shared_fields.h"
#include "base/wire.h"

namespace sinkstream {

// Lists that are shared in a process are whole on the wire.
template <>
struct wire::Form<SharedTokens> {
  static constexpr std::size_t kLeast = wire::kLeast<std::vector<TokenId>>;
  static void write(Writer& out, const SharedTokens& tokens) { out.put(tokens.list()); }
  static void read(Reader& in, SharedTokens& tokens) {
    tokens = SharedTokens(in.get<std::vector<TokenId>>());
  }
};

// What stands here is found by its argument, which a namespace without a name would prevent: hence static.
static constexpr FinishReason last_value(FinishReason) {
  return FinishReason::ending;
}
static constexpr RefusalReason last_value(RefusalReason) {
  return RefusalReason::invalid;
}

static auto fields(wire::Is<TurnParams> auto& params) {
  auto& [max_tokens, ignore_eos, stop_token_ids, sampling, logprobs, top_logprobs, prompt_logprobs,
         top_prompt_logprobs] = params;
  return std::tie(max_tokens, ignore_eos, stop_token_ids, sampling, logprobs, top_logprobs, prompt_logprobs,
                  top_prompt_logprobs);
}
static auto fields(wire::Is<SessionUsage> auto& usage) {
  auto& [seen_tokens, pinned_tokens, resident_tokens, evicted_tokens] = usage;
  return std::tie(seen_tokens, pinned_tokens, resident_tokens, evicted_tokens);
}
static auto fields(wire::Is<TokenLogprob> auto& entry) {
  auto& [token, logprob] = entry;
  return std::tie(token, logprob);
}

// ---- Commands

static auto fields(wire::Is<Generate> auto& command) {
  auto& [request, session, expected_tokens, prompts, n, params, credit] = command;
  return std::tie(request, session, expected_tokens, prompts, n, params, credit);
}
static auto fields(wire::Is<Grant> auto& command) {
  auto& [request, choice, token_events] = command;
  return std::tie(request, choice, token_events);
}
static auto fields(wire::Is<EndTurn> auto& command) {
  auto& [request, choice, position, pending] = command;
  return std::tie(request, choice, position, pending);
}
static auto fields(wire::Is<Cancel> auto& command) {
  auto& [request] = command;
  return std::tie(request);
}
static auto fields(wire::Is<Past> auto& past) {
  auto& [sinks, begin, recent] = past;
  return std::tie(sinks, begin, recent);
}
static auto fields(wire::Is<OpenSession> auto& command) {
  auto& [request, session, window, past, snapshots] = command;
  return std::tie(request, session, window, past, snapshots);
}
static auto fields(wire::Is<ForkSession> auto& command) {
  auto& [request, session, from, at] = command;
  return std::tie(request, session, from, at);
}
static auto fields(wire::Is<RollBackSession> auto& command) {
  auto& [request, session, to] = command;
  return std::tie(request, session, to);
}
static auto fields(wire::Is<CloseSession> auto& command) {
  auto& [request, session] = command;
  return std::tie(request, session);
}
static auto fields(wire::Is<SaveSession> auto& command) {
  auto& [request, session, tokens, name] = command;
  return std::tie(request, session, tokens, name);
}
static auto fields(wire::Is<DropSnapshot> auto& command) {
  auto& [request, session] = command;
  return std::tie(request, session);
}
static auto fields(wire::Is<KeepSnapshots> auto& command) {
  auto& [request, sessions] = command;
  return std::tie(request, sessions);
}

// ---- Events

static auto fields(wire::Is<Accepted> auto& event) {
  auto& [request] = event;
  return std::tie(request);
}
static auto fields(wire::Is<Refused> auto& event) {
  auto& [request, reason, message, usage] = event;
  return std::tie(request, reason, message, usage);
}
static auto fields(wire::Is<TokenEvent> auto& event) {
  auto& [request, choice, position, token, from_prompt, logprob, top, rank] = event;
  return std::tie(request, choice, position, token, from_prompt, logprob, top, rank);
}
static auto fields(wire::Is<TurnEnded> auto& event) {
  auto& [request, choice, reason, message, usage, stop_token, pending, replayed_tokens] = event;
  return std::tie(request, choice, reason, message, usage, stop_token, pending, replayed_tokens);
}
static auto fields(wire::Is<SessionChanged> auto& event) {
  auto& [request, session, usage, pending] = event;
  return std::tie(request, session, usage, pending);
}
static auto fields(wire::Is<SlotWanted> auto& event) {
  auto& [request, session] = event;
  return std::tie(request, session);
}

namespace {

// Which layout the bytes have: another one, or another kind of message, is refused.
constexpr std::uint32_t kCommandMagic = 0x33434b53;  // "SKC3"
constexpr std::uint32_t kEventMagic = 0x33454b53;    // "SKE3"

template <typename Message>
Message decode_as(std::uint32_t magic, std::span<const std::byte> bytes) {
  wire::Reader in(bytes);
  if (in.get<std::uint32_t>() != magic) throw wire::Malformed("it does not begin like one of this build");
  Message message = in.get<Message>();
  in.expect_end();
  return message;
}

}  // namespace

std::vector<std::byte> encode(const Command& command) {
  return wire::encode(kCommandMagic, command);
}
std::vector<std::byte> encode(const Event& event) {
  return wire::encode(kEventMagic, event);
}
Command decode_command(std::span<const std::byte> message) {
  return decode_as<Command>(kCommandMagic, message);
}
Event decode_event(std::span<const std::byte> message) {
  return decode_as<Event>(kEventMagic, message);
}

}  // namespace sinkstream
