#include "coordinator/api/sessions/session_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "coordinator/api/generation/engine_errors.h"
#include "coordinator/api/generation/text_prompt.h"
#include "coordinator/api/request/chat_prompt.h"
#include "coordinator/api/served_model.h"
#include "coordinator/api/sessions/session_registry.h"

namespace sinkstream {
namespace {

constexpr std::string_view kSessions = "/v1/sessions/";

ChatBefore chat_before(const SessionContents& contents, const Tokenizer& tokenizer) {
  ChatBefore before{.pinned = nlohmann::ordered_json::array(), .recent = nlohmann::ordered_json::array()};
  if (contents.pinned_messages) before.pinned = *contents.pinned_messages;
  const ChatMark* const chat = contents.chat();
  if (!chat) return before;
  before.recent = *chat->messages;
  before.answering = chat->answering;
  if (!chat->answering) return before;
  before.answer = tokenizer.decode(contents.transcript.read(chat->from, contents.tokens()),
                                   /*skip_special_tokens=*/true);
  return before;
}

}  // namespace

Json session_json(const ClientSession& session) {
  const SessionFacts& facts = session.facts();
  const ClientSession::View view = session.view();
  Json shown = {{"id", facts.id},
                {"object", "session"},
                {"status", view.running ? "running" : "idle"},
                {"seen_tokens", view.usage.seen_tokens},
                {"pinned_tokens", view.usage.pinned_tokens},
                {"resident_tokens", view.usage.resident_tokens},
                {"evicted_tokens", view.usage.evicted_tokens},
                {"bytes", view.bytes},
                {"window_tokens", facts.window.window_tokens},
                {"ttl_seconds", facts.ttl_seconds},
                {"created_at", facts.created_at},
                {"last_used_at", view.last_used_at},
                {"metadata", facts.metadata},
                {"same_arithmetic", view.same_arithmetic}};
  if (view.cut_at) shown["cut_at"] = *view.cut_at;
  return shown;
}

std::string session_id_in(const std::string& path) {
  if (!path.starts_with(kSessions)) return {};
  return path.substr(kSessions.size(), path.find('/', kSessions.size()) - kSessions.size());
}

std::optional<std::int64_t> read_expected_seen(RequestFields& fields) {
  return fields.integer("expected_seen", 0, std::numeric_limits<std::int64_t>::max());
}

std::shared_ptr<SessionTurn> read_session(RequestFields& fields, std::int64_t n, ApiContext& api,
                                          const Request& request) {
  const auto id = fields.string("session");
  const auto expected = read_expected_seen(fields);
  if (!id) {
    if (expected) throw fields.error("expected_seen", "'expected_seen' goes with 'session' only.");
    return nullptr;
  }
  if (n != 1) throw fields.error("n", "A session has one answer a turn: leave 'n' out, or fork the session.");
  return api.sessions.begin_turn(*id, request, expected);
}

void plan_chat_turn(SessionTurn& turn, RequestFields& fields, bool answers, ApiContext& api,
                    Exchange& exchange) {
  const SessionContents& contents = turn.contents();
  ChatTurn chat = read_chat_turn(fields, chat_before(contents, api.tokenizer), answers, api, exchange);
  if (contents.tokens() == 0) begin_with_sink(chat.tokens, api.engine.limits());
  turn.plan(std::move(chat.tokens));
  turn.set_chat(std::move(chat.recent), answers);
}

std::vector<TokenId> read_session_prompt(RequestFields& fields, bool begins, const ApiContext& api) {
  const auto* const field = fields.value("prompt");
  const bool add_special_tokens = fields.boolean("add_special_tokens").value_or(begins);
  if (!field) return {};
  if (field->is_string()) {
    return text_prompt(field->get_ref<const std::string&>(), add_special_tokens, api, "prompt").tokens.list();
  }
  const bool is_ids = field->is_array() && (field->empty() || field->front().is_number());
  if (!is_ids) {
    throw fields.error("prompt", "A session's 'prompt' must be one string or a list of token ids.",
                       "invalid_type");
  }
  return token_prompt(*field, api.engine.limits().vocab_size, api.tokenizer, "prompt").tokens.list();
}

// The pinned prefix stays for the session's whole life.
std::optional<std::int64_t> read_position(RequestFields& fields, const char* name, const SessionTurn& turn) {
  return fields.integer(name, turn.session().facts().prefix_tokens, turn.contents().tokens());
}

bool can_do_without_engine(const Refused& event) {
  return event.reason == RefusalReason::out_of_reach || event.reason == RefusalReason::queue_full ||
         event.reason == RefusalReason::unknown_session;
}

RequestError state_error(const Refused& event, const SessionTurn& turn, std::int64_t position,
                         const std::string& request_id) {
  if (event.reason != RefusalReason::out_of_reach) return refusal_error(event, request_id);
  RequestError error = conflict(
      "out_of_reach",
      fmt::format(
          "The session as it was at {} tokens is neither in the cache, which takes back the newest "
          "cache.slack_tokens, nor can it be made anew: its transcript begins at {} "
          "(sessions.transcript_tokens). Fork beforehand, or begin a new session with a text of your own.",
          position, turn.contents().transcript.begin()),
      "session");
  error.numbers.emplace_back("seen_tokens", turn.contents().tokens());
  return error;
}

}  // namespace sinkstream
