// POST /v1/chat/completions
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/generation.h"
#include "coordinator/api/generation/generation_budget.h"
#include "coordinator/api/request/chat_prompt.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

constexpr std::int64_t kMaxTopLogprobs = 20;

class ChatFormat : public AnswerFormat {
 public:
  ChatFormat(const Tokenizer& tokenizer, const GenerationOptions& options)
      : tokenizer_(tokenizer), logprobs_(options.logprobs), return_token_ids_(options.return_token_ids) {}

  std::string id_prefix() const override { return "chatcmpl-"; }
  std::string object(bool stream) const override {
    return stream ? "chat.completion.chunk" : "chat.completion";
  }

  Json opening(int index, const Prompt& prompt) const override {
    Json entry = chunk(index, {{"role", "assistant"}, {"content", ""}}, nullptr);
    if (return_token_ids_) entry["prompt_token_ids"] = prompt.tokens.list();
    return entry;
  }

  Json piece(int index, const Piece& piece) const override {
    Json entry = chunk(index, {{"content", piece.text}}, nullptr);
    if (logprobs_) entry["logprobs"] = logprobs_json(piece);
    if (return_token_ids_) entry["token_ids"] = piece.token_ids;
    return entry;
  }

  Json end(int index, const char* finish_reason) const override {
    return chunk(index, Json::object(), finish_reason);
  }

  Json whole(int index, const Piece& piece, const Prompt& prompt, const char* finish_reason) const override {
    Json entry = {{"index", index},
                  {"message", {{"role", "assistant"}, {"content", piece.text}, {"refusal", nullptr}}},
                  {"logprobs", logprobs_ ? logprobs_json(piece) : Json(nullptr)},
                  {"finish_reason", finish_reason}};
    if (return_token_ids_) {
      entry["token_ids"] = piece.token_ids;
      entry["prompt_token_ids"] = prompt.tokens.list();
    }
    return entry;
  }

  void add_members(Json& answer, const Piece& first) const override {
    if (!first.prompt.empty()) answer["prompt_logprobs"] = prompt_logprobs_json(first.prompt, tokenizer_);
  }

 private:
  static Json chunk(int index, Json delta, const char* finish_reason) {
    return {{"index", index},
            {"delta", std::move(delta)},
            {"logprobs", nullptr},
            {"finish_reason", finish_reason ? Json(finish_reason) : Json(nullptr)}};
  }

  // One token may be a part of a character; its bytes say which.
  Json token_json(TokenId token, float logprob) const {
    const std::string& bytes = tokenizer_.token_bytes(token);
    return {{"token", bytes},
            {"logprob", shown_logprob(logprob)},
            {"bytes", std::vector<unsigned char>(bytes.begin(), bytes.end())}};
  }

  Json logprobs_json(const Piece& piece) const {
    Json content = Json::array();
    for (const TokenReport& report : piece.tokens) {
      Json entry = token_json(report.token, report.logprob.value_or(0));
      entry["top_logprobs"] = Json::array();
      for (const TokenLogprob& other : report.top)
        entry["top_logprobs"].push_back(token_json(other.token, other.logprob));
      content.push_back(std::move(entry));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }

  const Tokenizer& tokenizer_;
  const bool logprobs_;
  const bool return_token_ids_;
};

void read_logprobs(RequestFields& fields, GenerationOptions& options) {
  options.logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, kMaxTopLogprobs);
  if (top.value_or(0) > 0 && !options.logprobs) {
    throw fields.error("top_logprobs", "'top_logprobs' needs \"logprobs\": true.");
  }
  options.top_logprobs = static_cast<std::int32_t>(top.value_or(0));
}

void chat_completions(ApiContext& api, const std::shared_ptr<Exchange>& exchange,
                      const nlohmann::ordered_json& body) {
  api.availability.require();
  RequestFields fields(body);

  GenerationSpec spec;
  spec.options = read_generation_options(fields, api);
  read_length(fields, 1, api.settings, spec.options);
  read_logprobs(fields, spec.options);
  fields.refuse_unless("echo", false);
  fields.refuse_unless("add_special_tokens", false);
  fields.refuse_unless("best_of", 1);
  fields.refuse({"suffix"});
  fields.refuse({"prompt"});
  spec.session = read_session(fields, spec.options.n, api, exchange->request());
  SamplingParams& sampling = spec.options.sampling;
  if (spec.session) {
    plan_chat_turn(*spec.session, fields, /*answers=*/true, api, *exchange);
    spec.prompts.push_back({spec.session->prompt()});
  } else {
    spec.prompts.push_back({read_chat_prompt(fields, /*tools=*/nullptr, api, *exchange)});
  }
  if (sampling.has_penalties() && sampling.repeat_last_n > 0) {
    sampling.earlier_output = spec.session ? spec.session->contents().newest_answers(sampling.repeat_last_n)
                                           : newest_answer_tokens(fields, sampling.repeat_last_n, api);
  }
  api.unknown_fields.note(exchange->request().id, fields.unknown());

  if (spec.prompts[0].tokens.empty()) throw fields.error("messages", "The messages give an empty prompt.");
  spec.format = std::make_shared<ChatFormat>(api.tokenizer, spec.options);
  start_generation(api, exchange, std::move(spec));
}

}  // namespace

void add_chat_completions(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/chat/completions",
              answer_once(api, chat_completions, /*reads_expected_seen=*/true), /*open=*/false,
              /*offload=*/true});
}

}  // namespace sinkstream
