// A model's texts: what only the leader needs to turn text into tokens and back.
#pragma once

#include <optional>
#include <vector>

#include "base/token_id.h"
#include "parallel/communicator/communicator.h"
#include "programs/config.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {

struct ModelText {
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::optional<TokenId> sink_token;
  std::vector<TokenId> end_tokens;  // the model's, and the tokenizer's own, which chat tunes may name alone
};

// Collective; elsewhere than on the leader all of it stays empty. Throws the same StartupError on every rank.
ModelText load_model_text(Communicator& group, const ModelSettings& settings, const ModelConfig& model);

}  // namespace sinkstream
