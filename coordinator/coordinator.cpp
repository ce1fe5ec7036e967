#include "coordinator/coordinator.h"

#include <spdlog/spdlog.h>

#include <ctime>

#include "coordinator/api/api_context.h"
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/journal/journal.h"
#include "coordinator/api/metrics.h"
#include "coordinator/api/quota/token_quota.h"
#include "coordinator/api/retries/answer_records.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/http/server.h"

namespace sinkstream {
namespace {

std::unique_ptr<Journal> open_journal(const ApiSettings& settings) {
  if (settings.sessions.directory.empty()) return nullptr;
  return std::make_unique<Journal>(JournalSettings{.store = {.directory = settings.sessions.directory,
                                                             .model = settings.model_fingerprint,
                                                             .model_name = settings.model_name},
                                                   .sync_seconds = settings.sessions.sync_seconds});
}

}  // namespace

struct Coordinator::State {
  State(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
        const ApiSettings& settings_of_api, const ServerSettings& settings_of_server)
      : api_settings(settings_of_api),
        settings(settings_of_server),
        journal(open_journal(api_settings)),
        live_prompts(settings.max_live_prompt_tokens),
        quota(settings.tokens_per_minute),
        server(settings),
        client(engine, server.executor()),
        sessions(std::make_shared<SessionRegistry>(client, server.executor(), api_settings.sessions,
                                                   !settings.api_key_file.empty(), journal.get(),
                                                   api_settings.arithmetic)),
        records(std::make_shared<AnswerRecords>(
            server.executor(),
            RecordSettings{.replay_seconds = api_settings.sessions.replay_seconds,
                           .retry_seconds = api_settings.sessions.retry_seconds,
                           .max_bytes = api_settings.sessions.replay_bytes},
            journal.get())),
        api{client,
            api_settings,
            tokenizer,
            chat_template,
            server.executor(),
            metrics,
            availability,
            unknown_fields,
            warnings,
            live_prompts,
            quota,
            *sessions,
            *records,
            journal.get(),
            static_cast<std::int64_t>(std::time(nullptr))} {
    client.on_slot_wanted([registry = std::weak_ptr(sessions)](SessionId session) {
      if (const auto there = registry.lock()) there->in_engine().give_up_slot(session);
    });
    if (!journal) return;
    journal->start(server.executor());
    sessions->take_up(api_settings.slot_bytes);
    records->take_up();
  }

  const ApiSettings api_settings;
  const ServerSettings settings;
  const std::unique_ptr<Journal> journal;  // null: sessions are in memory only
  Metrics metrics;
  Availability availability;
  UnknownFieldLog unknown_fields;
  Warnings warnings;
  LivePrompts live_prompts;
  TokenQuota quota;
  Server server;
  EngineClient client;
  const std::shared_ptr<SessionRegistry> sessions;
  const std::shared_ptr<AnswerRecords> records;
  ApiContext api;
};

Coordinator::Coordinator(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                         const ApiSettings& api_settings, const ServerSettings& server_settings)
    : state_(std::make_unique<State>(engine, tokenizer, chat_template, api_settings, server_settings)) {
  Router& router = state_->server.router();
  add_chat_completions(router, state_->api);
  add_completions(router, state_->api);
  add_models(router, state_->api);
  add_sessions(router, state_->api);
  add_session(router, state_->api);
  add_session_append(router, state_->api);
  add_session_fork(router, state_->api);
  add_session_rollback(router, state_->api);
  add_session_transcript(router, state_->api);
  add_tokenize(router, state_->api);
  add_detokenize(router, state_->api);
  add_tokenizer_info(router, state_->api);
  add_health(router, state_->api);
  add_metrics(router, state_->api);
  add_version(router);
  add_openapi(router);
  add_page(router);
  for (const Route& route : router.routes()) state_->metrics.expect_endpoint(route.path);
  state_->server.on_answered(
      [&metrics = state_->metrics](const AnsweredRequest& request) { metrics.count_request(request); });
}

Coordinator::~Coordinator() {
  stop();
}

std::string Coordinator::start() {
  return start(BoundAddress(state_->settings));
}

std::string Coordinator::start(BoundAddress bound) {
  const std::string address = state_->server.start(std::move(bound));
  spdlog::info("listening on http://{}", address);
  return address;
}

void Coordinator::begin_drain() {
  state_->availability.begin_drain();
  state_->server.begin_drain();
}

bool Coordinator::wait_until_drained(std::chrono::steady_clock::time_point deadline) {
  return state_->server.wait_until_idle(deadline);
}

void Coordinator::fail(const std::string& message) {
  state_->availability.fail(message);
  state_->server.fail(unavailable(message));
}

void Coordinator::stop() {
  state_->server.stop();
  state_->client.close();
}

}  // namespace sinkstream
