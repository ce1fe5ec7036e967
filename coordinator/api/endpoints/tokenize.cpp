// POST /tokenize
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/answer_format.h"
#include "coordinator/api/request/chat_messages.h"
#include "coordinator/api/request/chat_prompt.h"
#include "coordinator/api/request/request_json.h"
#include "coordinator/api/served_model.h"

namespace sinkstream {
namespace {

// A chat template writes its own begin token; a bare prompt gets the tokenizer's, unless it is not wanted.
std::vector<TokenId> read_tokens(RequestFields& fields, ApiContext& api, Exchange& exchange) {
  const nlohmann::ordered_json* tools = read_tools(fields);
  const bool add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  const auto prompt = fields.string("prompt");
  const bool has_messages = fields.value("messages") != nullptr;
  if (prompt.has_value() == has_messages) {
    throw fields.error("prompt", "Send either 'prompt' or 'messages'.", "missing_required_parameter");
  }
  if (has_messages) return read_chat_prompt(fields, tools, api, exchange);
  if (tools) throw fields.error("tools", "'tools' go with 'messages' only.");
  fields.refuse({"chat_template_kwargs", "reasoning_effort"});
  fields.boolean("add_generation_prompt");  // without effect on a prompt
  fields.refuse_unless("continue_final_message", false);
  std::vector<TokenId> tokens =
      encode_text(api, *prompt, {.add_special_tokens = add_special_tokens}, "prompt");
  if (add_special_tokens) begin_with_sink(tokens, api.engine.limits());
  return tokens;
}

void tokenize(ApiContext& api, const std::shared_ptr<Exchange>& exchange) {
  const nlohmann::ordered_json body = parse_request_json(exchange->take_body());
  RequestFields fields(body);
  check_model(fields.string("model"), api.settings);
  const bool return_token_strs = fields.boolean("return_token_strs").value_or(false);
  fields.refuse({"chat_template"});
  const std::vector<TokenId> tokens = read_tokens(fields, api, *exchange);
  api.unknown_fields.note(exchange->request().id, fields.unknown());

  Json answer = {{"count", tokens.size()}, {"max_model_len", max_model_len(api)}};
  answer["tokens"] = tokens;
  answer["token_strs"] = nullptr;
  if (return_token_strs) {
    answer["token_strs"] = Json::array();
    for (const TokenId token : tokens) answer["token_strs"].push_back(api.tokenizer.token_string(token));
  }
  exchange->respond({200, "application/json", to_text(answer)});
}

}  // namespace

void add_tokenize(Router& router, ApiContext& api) {
  router.add({"POST", "/tokenize",
              [&api](const std::shared_ptr<Exchange>& exchange) { tokenize(api, exchange); },
              /*open=*/false, /*offload=*/true});
}

}  // namespace sinkstream
