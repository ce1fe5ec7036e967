// POST /v1/completions
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/generation.h"
#include "coordinator/api/generation/generation_budget.h"
#include "coordinator/api/generation/text_prompt.h"
#include "coordinator/api/retries/answer_once.h"
#include "coordinator/api/served_model.h"
#include "coordinator/api/sessions/session_request.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

constexpr std::int64_t kMaxLogprobs = 5;

class CompletionFormat : public AnswerFormat {
 public:
  CompletionFormat(const Tokenizer& tokenizer, const GenerationOptions& options)
      : tokenizer_(tokenizer), logprobs_(options.logprobs), return_token_ids_(options.return_token_ids) {}

  std::string id_prefix() const override { return "cmpl-"; }
  std::string object(bool) const override { return "text_completion"; }

  Json opening(int index, const Prompt& prompt) const override {
    if (!return_token_ids_) return nullptr;
    Json entry = choice(index, Piece{}, nullptr);
    entry["prompt_token_ids"] = prompt.tokens.list();
    return entry;
  }

  Json piece(int index, const Piece& piece) const override { return choice(index, piece, nullptr); }

  Json end(int index, const char* finish_reason) const override {
    return choice(index, Piece{}, finish_reason);
  }

  Json whole(int index, const Piece& piece, const Prompt& prompt, const char* finish_reason) const override {
    Json entry = choice(index, piece, finish_reason);
    if (logprobs_ && entry["logprobs"].is_null()) entry["logprobs"] = logprobs_json({});
    if (return_token_ids_) entry["prompt_token_ids"] = prompt.tokens.list();
    if (!piece.prompt.empty()) entry["prompt_logprobs"] = prompt_logprobs_json(piece.prompt, tokenizer_);
    return entry;
  }

 private:
  Json choice(int index, const Piece& piece, const char* finish_reason) const {
    Json entry = {{"index", index},
                  {"text", piece.text},
                  {"logprobs", piece.tokens.empty() ? Json(nullptr) : logprobs_json(piece.tokens)},
                  {"finish_reason", finish_reason ? Json(finish_reason) : Json(nullptr)}};
    if (return_token_ids_) entry["token_ids"] = piece.token_ids;
    return entry;
  }

  // A part of a character is shown as its bytes: "bytes:\xe2\x82".
  std::string token_text(TokenId token) const {
    const std::string& bytes = tokenizer_.token_bytes(token);
    if (is_valid_utf8(bytes)) return bytes;
    std::string text = "bytes:";
    for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    return text;
  }

  // Alternatives as OpenAI shows them: an object from text to log-probability, the token itself always among
  // them.
  Json top_json(const TokenReport& report) const {
    if (!report.logprob) return nullptr;
    Json top = Json::object();
    for (const TokenLogprob& other : report.top) {
      const std::string text = token_text(other.token);
      if (!top.contains(text)) top[text] = shown_logprob(other.logprob);
    }
    const std::string own = token_text(report.token);
    if (!top.contains(own)) top[own] = shown_logprob(*report.logprob);
    return top;
  }

  Json logprobs_json(const std::vector<TokenReport>& reports) const {
    Json offsets = Json::array();
    Json logprobs = Json::array();
    Json tokens = Json::array();
    Json tops = Json::array();
    for (const TokenReport& report : reports) {
      offsets.push_back(report.text_offset);
      logprobs.push_back(report.logprob ? Json(shown_logprob(*report.logprob)) : Json(nullptr));
      tokens.push_back(token_text(report.token));
      tops.push_back(top_json(report));
    }
    return {{"text_offset", std::move(offsets)},
            {"token_logprobs", std::move(logprobs)},
            {"tokens", std::move(tokens)},
            {"top_logprobs", std::move(tops)}};
  }

  const Tokenizer& tokenizer_;
  const bool logprobs_;
  const bool return_token_ids_;
};

// ---- prompts

std::vector<Prompt> read_prompts(RequestFields& fields, std::int64_t n, const ApiContext& api) {
  const json* field = fields.value("prompt");
  const bool add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  if (!field) throw fields.error("prompt", "'prompt' is missing.", "missing_required_parameter");
  const std::int64_t vocab_size = api.engine.limits().vocab_size;
  if (field->is_string()) {
    return {text_prompt(field->get_ref<const std::string&>(), add_special_tokens, api, "prompt")};
  }
  if (!field->is_array()) {
    throw fields.error("prompt",
                       "'prompt' must be a string, an array of strings, token ids, or arrays of token ids.",
                       "invalid_type");
  }
  if (field->empty()) throw fields.error("prompt", "'prompt' must not be empty.");
  if (!field->front().is_string() && !field->front().is_array())
    return {token_prompt(*field, vocab_size, api.tokenizer, "prompt")};
  const auto total = static_cast<std::int64_t>(field->size()) * n;
  if (total > kMaxGenerations) {
    throw fields.error("prompt", fmt::format("{} prompts times n = {} are more than {} generations.",
                                             field->size(), n, kMaxGenerations));
  }
  std::vector<Prompt> prompts;
  for (const json& entry : *field) {
    const std::string name = fmt::format("prompt[{}]", prompts.size());
    if (entry.is_string() && field->front().is_string()) {
      prompts.push_back(text_prompt(entry.get_ref<const std::string&>(), add_special_tokens, api, name));
    } else if (entry.is_array() && field->front().is_array()) {
      prompts.push_back(token_prompt(entry, vocab_size, api.tokenizer, name));
    } else {
      throw bad_request("All entries of 'prompt' must be of one kind.", name, "invalid_type");
    }
  }
  return prompts;
}

// What a session takes in. Without a prompt it goes on.
Prompt read_turn(RequestFields& fields, SessionTurn& turn, const ApiContext& api) {
  turn.plan(read_session_prompt(fields, /*begins=*/turn.contents().tokens() == 0, api));
  return {turn.prompt(), /*hidden_tokens=*/0, has_text(turn.prompt().list(), api.tokenizer)};
}

// Attention sinks are the first tokens: without the one that the model was trained to begin with, the rest
// scores and goes on worse, and nothing else would show it.
void warn_without_first_token(ApiContext& api, Exchange& exchange, const std::vector<Prompt>& prompts) {
  const std::optional<TokenId> first = first_token(api);
  const auto begins_well = [&](const Prompt& prompt) { return prompt.tokens.list().front() == *first; };
  if (!first || std::ranges::all_of(prompts, begins_well)) return;
  const std::string name =
      json(api.tokenizer.token_string(*first)).dump(-1, ' ', true, json::error_handler_t::replace);
  api.warnings.give(exchange,
                    fmt::format("a prompt does not begin with token {} ({}), as prompts of text do: this "
                                "model may score and continue it worse; put that token first "
                                "(lm-eval: add_bos_token=True)",
                                *first, name));
}

// ---- parameters

void read_best_of(RequestFields& fields, std::int64_t n) {
  const auto best_of = fields.integer("best_of", 1, 16);
  if (best_of && *best_of != n) {
    throw fields.error("best_of", "'best_of' other than 'n' is not supported.", "unsupported_parameter");
  }
}

void completions(ApiContext& api, const std::shared_ptr<Exchange>& exchange, const json& body) {
  api.availability.require();
  RequestFields fields(body);

  GenerationSpec spec;
  GenerationOptions& options = spec.options;
  options = read_generation_options(fields, api);
  options.echo = fields.boolean("echo").value_or(false);
  read_length(fields, options.echo || options.prompt_logprobs ? 0 : 1, api.settings, options);
  const auto logprobs = fields.integer("logprobs", 0, kMaxLogprobs);
  options.logprobs = logprobs.has_value();
  options.top_logprobs = static_cast<std::int32_t>(logprobs.value_or(0));
  read_best_of(fields, options.n);
  fields.refuse_unless("suffix", "");
  fields.refuse({"chat_template_kwargs", "reasoning_effort"});
  fields.refuse_unless("top_logprobs", 0);
  fields.refuse({"messages"});
  fields.refuse_unless("continue_final_message", false);
  spec.session = read_session(fields, options.n, api, exchange->request());
  spec.prompts = spec.session ? std::vector{read_turn(fields, *spec.session, api)}
                              : read_prompts(fields, options.n, api);
  api.unknown_fields.note(exchange->request().id, fields.unknown());

  if (tokens_before(spec) == 0) warn_without_first_token(api, *exchange, spec.prompts);
  spec.format = std::make_shared<CompletionFormat>(api.tokenizer, options);
  start_generation(api, exchange, std::move(spec));
}

}  // namespace

void add_completions(Router& router, ApiContext& api) {
  router.add({"POST", "/v1/completions", answer_once(api, completions, /*reads_expected_seen=*/true),
              /*open=*/false,
              /*offload=*/true});
}

}  // namespace sinkstream
