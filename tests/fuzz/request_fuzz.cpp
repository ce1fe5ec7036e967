// The JSON body of a request: read as a chat's and as a tokenize request's, up to the tokens of its prompt.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/api/metrics.h"
#include "coordinator/api/quota/token_quota.h"
#include "coordinator/api/request/chat_messages.h"
#include "coordinator/api/request/chat_prompt.h"
#include "coordinator/api/request/generation_options.h"
#include "coordinator/api/request/request_json.h"
#include "coordinator/api/retries/answer_records.h"
#include "coordinator/api/sessions/session_registry.h"
#include "tests/fuzz/scratch.h"
#include "tests/paths.h"

namespace sinkstream::fuzz {
namespace {

class NoEngine final : public Engine {
 public:
  explicit NoEngine(EngineLimits limits) : limits_(std::move(limits)) {}
  const EngineLimits& limits() const override { return limits_; }
  void connect(std::shared_ptr<EventSink>) override {}
  void send(Command) override {}
  EngineStats stats() const override { return {}; }

 private:
  const EngineLimits limits_;
};

EngineLimits limits_of(const Tokenizer& tokenizer) {
  EngineLimits limits;
  limits.vocab_size = tokenizer.vocab_size();
  limits.session.window = {4, 28};
  return limits;
}

// Leaves out tools' results, which an answer warns of, and instructions, which is refused.
TemplateSources leaving_out_messages() {
  TemplateSources sources;
  sources.usual =
      "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}{{ m.content | trim }} {% endif %}"
      "{% endfor %}";
  return sources;
}

// What the endpoints share, with the demo model's tokenizer.
struct Parts {
  explicit Parts(const TemplateSources& sources) : chat_template(sources) {}

  Tokenizer tokenizer = Tokenizer::load(project_dir() / "models/demo/tokenizer.json");
  ChatTemplate chat_template;
  NoEngine engine{limits_of(tokenizer)};
  EngineClient client{engine, nullptr};
  ApiSettings settings{.model_name = "m", .default_max_tokens = 64, .max_tokens = 1000};
  Metrics metrics;
  Availability availability;
  UnknownFieldLog unknown_fields;
  Warnings warnings;
  LivePrompts live_prompts{1000};
  TokenQuota quota{std::nullopt};
  std::weak_ptr<Executor> no_executor;
  SessionRegistry sessions{client, no_executor, settings.sessions, /*has_keys=*/false};
  AnswerRecords records{no_executor, {}};
  ApiContext api{client,         settings, tokenizer,    chat_template, nullptr,  metrics, availability,
                 unknown_fields, warnings, live_prompts, quota,         sessions, records, 0};
};

// Looks at the warnings that the answer would bear.
class NoExchange final : public Exchange {
 public:
  const Request& request() const override { return request_; }
  std::string take_body() override { return {}; }
  void add_header(Header header) override {
    if (!std::ranges::all_of(header.value, [](char c) { return c >= ' ' && c <= '~'; }))
      broken("a header is visible ASCII");
  }
  void respond(Response) override {}
  void start_stream() override {}
  void send(std::string_view) override {}
  void finish_stream() override {}
  void fail(const RequestError&) override {}
  void note_tokens(const TokenCounts&) override {}
  void on_abandoned(std::function<void(AbandonCause)>) override {}
  bool backlogged() const override { return false; }
  void on_room(std::function<void()>) override {}

 private:
  const Request request_{};
};

void read_chat(const nlohmann::ordered_json& body, ApiContext& api) {
  RequestFields fields(body);
  read_generation_options(fields, api);
  NoExchange exchange;
  read_chat_prompt(fields, nullptr, api, exchange);
}

void read_messages_to_tokenize(const nlohmann::ordered_json& body, ApiContext& api) {
  RequestFields fields(body);
  NoExchange exchange;
  const std::vector<TokenId> tokens = read_chat_prompt(fields, read_tools(fields), api, exchange);
  for (const TokenId token : tokens) {
    if (token < 0 || token >= api.tokenizer.vocab_size()) broken("tokens are in the vocabulary");
  }
}

}  // namespace
}  // namespace sinkstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  static fuzz::Parts demo(find_template(project_dir() / "models/demo"));
  static fuzz::Parts leaving_out(fuzz::leaving_out_messages());
  nlohmann::ordered_json body;
  try {
    body = parse_request_json(fuzz::as_text(data, size));
  } catch (const RequestError&) {
    return 0;
  }
  for (fuzz::Parts* const parts : {&demo, &leaving_out}) {
    for (const auto read : {fuzz::read_chat, fuzz::read_messages_to_tokenize}) {
      try {
        read(body, parts->api);
      } catch (const RequestError& error) {
        if (error.status < 400 || error.status >= 500) fuzz::broken("a bad request is the client's error");
      }
    }
  }
  return 0;
}
