// GET /tokenizer_info: what clients need to write prompts themselves, as vLLM gives it; lm-evaluation-harness
// asks.
#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/generation/answer_format.h"

namespace sinkstream {
namespace {

// As in tokenizer_config.json. The names that clients look for are always there.
Json tokenizer_info(const ChatTemplate& chat_template) {
  Json info = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  for (const char* name : {"bos_token", "eos_token", "pad_token", "unk_token"}) info[name] = nullptr;
  for (const auto& [name, token] : chat_template.sources().special_tokens) {
    if (!token.empty()) info[name] = token;
  }
  info["chat_template"] = chat_template.sources().usual;
  return info;
}

}  // namespace

void add_tokenizer_info(Router& router, ApiContext& api) {
  router.add({"GET", "/tokenizer_info", [&api](const std::shared_ptr<Exchange>& exchange) {
                exchange->respond({200, "application/json", to_text(tokenizer_info(api.chat_template))});
              }});
}

}  // namespace sinkstream
