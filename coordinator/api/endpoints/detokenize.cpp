// POST /detokenize
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/answer_format.h"
#include "coordinator/api/request/request_fields.h"
#include "coordinator/api/request/request_json.h"
#include "coordinator/api/served_model.h"

namespace sinkstream {
namespace {

void detokenize(ApiContext& api, const std::shared_ptr<Exchange>& exchange) {
  const nlohmann::ordered_json body = parse_request_json(exchange->take_body());
  RequestFields fields(body);
  check_model(fields.string("model"), api.settings);
  const nlohmann::ordered_json* ids = fields.array("tokens");
  if (!ids) throw fields.error("tokens", "'tokens' is missing.", "missing_required_parameter");
  api.unknown_fields.note(exchange->request().id, fields.unknown());

  const std::vector<TokenId> tokens = token_id_values(*ids, api.engine.limits().vocab_size, "tokens");
  const Json answer = {{"prompt", api.tokenizer.decode(tokens, /*skip_special_tokens=*/false)}};
  exchange->respond({200, "application/json", to_text(answer)});
}

}  // namespace

void add_detokenize(Router& router, ApiContext& api) {
  router.add({"POST", "/detokenize",
              [&api](const std::shared_ptr<Exchange>& exchange) { detokenize(api, exchange); },
              /*open=*/false, /*offload=*/true});
}

}  // namespace sinkstream
