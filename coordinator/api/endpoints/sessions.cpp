// POST and GET /v1/sessions
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/request/chat_messages.h"
#include "coordinator/api/request/chat_prompt.h"
#include "coordinator/api/request/unsupported_fields.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/served_model.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kMaxMetadata = 16;
constexpr std::size_t kMaxMetadataKey = 64;
constexpr std::size_t kMaxMetadataText = 512;

// As OpenAI bounds it.
json read_metadata(RequestFields& fields) {
  const auto* const field = fields.value("metadata");
  if (!field) return json::object();
  if (!fields.object("metadata") || field->size() > kMaxMetadata) {
    throw fields.error("metadata", fmt::format("'metadata' may have up to {} entries.", kMaxMetadata));
  }
  for (const auto& [name, value] : field->items()) {
    const bool fits = value.is_string() && name.size() <= kMaxMetadataKey &&
                      value.get_ref<const std::string&>().size() <= kMaxMetadataText;
    if (fits) continue;
    throw fields.error("metadata",
                       fmt::format("'metadata' maps names of up to {} bytes to texts of up to {}.",
                                   kMaxMetadataKey, kMaxMetadataText));
  }
  return *field;
}

// What the session begins with, and its messages if it is made of such.
struct Pinned {
  std::vector<TokenId> tokens;
  std::shared_ptr<const json> messages;
};

Pinned read_pinned(RequestFields& fields, ApiContext& api, Exchange& exchange) {
  const bool has_messages = fields.value("messages") != nullptr;
  const auto instructions = fields.string("instructions");
  std::vector<TokenId> tokens = read_session_prompt(fields, /*begins=*/true, api);
  if (int{has_messages} + int{instructions.has_value()} + int{!tokens.empty()} > 1) {
    throw fields.error("messages", "Send one of 'messages', 'instructions' and 'prompt', or none of them.");
  }
  if (!has_messages && !instructions) return {std::move(tokens), nullptr};
  json messages =
      has_messages ? read_messages(fields) : json::array({{{"role", "system"}, {"content", *instructions}}});
  tokens = pinned_tokens(messages, fields, api, exchange);
  return {std::move(tokens), std::make_shared<const json>(std::move(messages))};
}

// The prefix stays as the session's sinks; the model's usual number of them stays in any case.
CacheWindow window_of(RequestFields& fields, std::int64_t pinned, const EngineLimits& limits) {
  const SessionShape& shape = limits.session;
  CacheWindow window = shape.window;
  window.window_tokens =
      fields.integer("window_tokens", 1, shape.window.window_tokens).value_or(window.window_tokens);
  if (!shape.endless()) {
    if (window != shape.window) {
      throw fields.error("window_tokens",
                         "Without a window (cache.mode: dense) a session has none of its own.");
    }
    check_prompt_length(pinned, "disabled", shape);
    return window;  // all of it stays
  }
  if (pinned > shape.sink_capacity) {
    throw fields.error(
        "messages",
        fmt::format(
            "What the session begins with has {} tokens; {} can be pinned here (cache.max_sink_tokens, in "
            "cache.mode: sink). Shorten it, or send it with the first turn, where it is forgotten in time.",
            pinned, shape.sink_capacity),
        "prefix_too_long");
  }
  window.sink_tokens = std::max(window.sink_tokens, pinned);
  return window;
}

void create(ApiContext& api, const std::shared_ptr<Exchange>& exchange, const json& body) {
  api.availability.require();
  RequestFields fields(body);
  check_model(fields.string("model"), api.settings);
  const double longest = api.sessions.settings().ttl_seconds;
  SessionFacts facts;
  facts.owner = api.sessions.owner_of(exchange->request());
  facts.metadata = read_metadata(fields);
  facts.ttl_seconds = fields.number("ttl_seconds", {0, longest, true}).value_or(longest);
  refuse_tools(fields);
  fields.refuse({"chat_template_kwargs"});  // of turns
  Pinned pinned = read_pinned(fields, api, *exchange);
  facts.window = window_of(fields, static_cast<std::int64_t>(pinned.tokens.size()), api.engine.limits());
  facts.prefix_tokens = std::ssize(pinned.tokens);
  facts.slot_bytes = api.settings.slot_bytes;
  api.unknown_fields.note(exchange->request().id, fields.unknown());

  SessionContents contents{.transcript = api.sessions.on_disk().new_transcript(),
                           .sink_tokens = facts.window.sink_tokens,
                           .reach = api.engine.limits().session.ring_capacity};
  if (api.sessions.on_disk().is_there()) contents.recorded = 0;
  contents.append(pinned.tokens);
  contents.unsent = std::move(pinned.tokens);
  contents.pinned_messages = std::move(pinned.messages);
  const auto session = api.sessions.add(std::move(facts), std::move(contents));
  session->end_turn(api.sessions.now());
  api.sessions.on_disk()
      .when_written(exchange, session->facts().id)
      ->respond({200, "application/json", to_text(session_json(*session))});
}

void list(ApiContext& api, const std::shared_ptr<Exchange>& exchange) {
  Json data = Json::array();
  for (const auto& session : api.sessions.list(exchange->request())) data.push_back(session_json(*session));
  const auto written = api.sessions.on_disk().when_written(exchange, {});
  written->respond({200, "application/json",
                    to_text({{"object", "list"}, {"data", std::move(data)}, {"has_more", false}})});
}

}  // namespace

void add_sessions(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/sessions", answer_once(api, create, /*reads_expected_seen=*/false), /*open=*/false,
              /*offload=*/true});
  router.add(
      {"GET", "/v1/sessions", [&api](const std::shared_ptr<Exchange>& exchange) { list(api, exchange); }});
}

}  // namespace sinkstream
