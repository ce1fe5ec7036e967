// The JSON body of a request: read as a chat's and as a tokenize request's, up to the tokens of its prompt.
#include <nlohmann/json.hpp>

#include "coordinator/api/metrics.h"
#include "coordinator/api/request/chat_messages.h"
#include "coordinator/api/request/chat_prompt.h"
#include "coordinator/api/request/generation_options.h"
#include "coordinator/api/request/request_json.h"
#include "tests/fuzz/scratch.h"
#include "tests/paths.h"

namespace sinkstream::fuzz {
namespace {

class NoEngine final : public Engine {
 public:
  explicit NoEngine(EngineLimits limits) : limits_(std::move(limits)) {}
  const EngineLimits& limits() const override { return limits_; }
  SubmitResult submit(std::vector<Submission>) override { return {}; }
  void cancel(const std::string&) override {}
  EngineStats stats() const override { return {}; }

 private:
  const EngineLimits limits_;
};

EngineLimits limits_of(const Tokenizer& tokenizer) {
  EngineLimits limits;
  limits.model_name = "m";
  limits.vocab_size = tokenizer.vocab_size();
  limits.window = {4, 28};
  limits.default_max_tokens = 64;
  limits.max_tokens = 1000;
  return limits;
}

// What the endpoints share, with the demo model's tokenizer and chat template.
struct Parts {
  Tokenizer tokenizer = Tokenizer::load(project_dir() / "models/demo/tokenizer.json");
  ChatTemplate chat_template = ChatTemplate::load(project_dir() / "models/demo");
  NoEngine engine{limits_of(tokenizer)};
  Metrics metrics;
  Availability availability;
  UnknownFieldLog unknown_fields;
  LivePrompts live_prompts{1000};
  ApiContext api{engine,       tokenizer,      chat_template, nullptr, metrics,
                 availability, unknown_fields, live_prompts,  0};
};

void read_chat(const nlohmann::ordered_json& body, const ApiContext& api) {
  RequestFields fields(body);
  read_generation_options(fields, api.engine.limits());
  read_chat_prompt(fields, nullptr, api);
}

void read_messages_to_tokenize(const nlohmann::ordered_json& body, const ApiContext& api) {
  RequestFields fields(body);
  const std::vector<TokenId> tokens = read_chat_prompt(fields, read_tools(fields), api);
  for (const TokenId token : tokens) {
    if (token < 0 || token >= api.tokenizer.vocab_size()) broken("tokens are in the vocabulary");
  }
}

}  // namespace
}  // namespace sinkstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  static const fuzz::Parts parts;
  nlohmann::ordered_json body;
  try {
    body = parse_request_json(fuzz::as_text(data, size));
  } catch (const RequestError&) {
    return 0;
  }
  for (const auto read : {fuzz::read_chat, fuzz::read_messages_to_tokenize}) {
    try {
      read(body, parts.api);
    } catch (const RequestError& error) {
      if (error.status < 400 || error.status >= 500) fuzz::broken("a bad request is the client's error");
    }
  }
  return 0;
}
