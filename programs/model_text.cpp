#include "programs/model_text.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "parallel/start/together.h"

namespace sinkstream {
namespace {

// Throws StartupError (ExitCode::config) unless it is a token that the model knows.
TokenId find_sink_token(const std::string& name, const Tokenizer& tokenizer, std::int64_t vocab_size) {
  const std::optional<TokenId> token = tokenizer.find(name);
  if (token && *token < vocab_size) return *token;
  throw StartupError(ExitCode::config,
                     "model.sink_token: \"" + name + "\" is not a token of this model's tokenizer");
}

// The model's end tokens, and the tokenizer's own if the model has it.
std::vector<TokenId> find_end_tokens(const ModelConfig& model, const TemplateSources& sources,
                                     const Tokenizer& tokenizer) {
  std::vector<TokenId> end_tokens = model.end_tokens;
  const auto name = sources.special_tokens.find("eos_token");
  if (name == sources.special_tokens.end() || name->second.empty()) return end_tokens;
  const std::optional<TokenId> token = tokenizer.find(name->second);
  const bool in_model = token && *token < model.vocab_size;
  if (!in_model) {
    spdlog::warn("the end token \"{}\" {}: answers will not end at it", name->second,
                 token ? "is not one of the model's" : "is not defined by any file of the tokenizer");
  }
  if (in_model && std::ranges::find(end_tokens, *token) == end_tokens.end()) end_tokens.push_back(*token);
  return end_tokens;
}

// Throws StartupError (ExitCode::model) where only other formats of a tokenizer are there.
void require_tokenizer_json(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / "tokenizer.json")) return;
  for (const char* other :
       {"tokenizer.model", "spiece.model", "vocab.json", "tiktoken.model", "tekken.json"}) {
    if (!std::filesystem::exists(directory / other)) continue;
    const std::string path = directory.string();
    throw StartupError(ExitCode::model, path + ": has " + other +
                                            " but no tokenizer.json, the format that is read here. Make " +
                                            "one with transformers: AutoTokenizer.from_pretrained(\"" + path +
                                            "\").save_pretrained(\"" + path + "\")");
  }
}

}  // namespace

ModelText load_model_text(Communicator& group, const ModelSettings& settings, const ModelConfig& model) {
  ModelText text;
  together(group, [&] {
    if (!group.is_leader()) return;
    require_tokenizer_json(settings.path);
    text.tokenizer.emplace(Tokenizer::load(settings.path / "tokenizer.json"));
    const TemplateSources sources = find_template(settings.path);
    text.chat_template.emplace(sources);
    text.end_tokens = find_end_tokens(model, sources, *text.tokenizer);
    if (text.tokenizer->vocab_size() > model.vocab_size) {
      spdlog::warn("the tokenizer has {} tokens, the model only {}: text that needs the others is refused",
                   text.tokenizer->vocab_size(), model.vocab_size);
    }
    if (settings.sink_token.empty()) return;
    text.sink_token = find_sink_token(settings.sink_token, *text.tokenizer, model.vocab_size);
  });
  return text;
}

}  // namespace sinkstream
