#include "worker/model/architectures/model_config.h"

#include <algorithm>
#include <string>

#include "base/strict_json.h"
#include "worker/model/architectures/architectures.h"
#include "worker/model/architectures/config_section.h"

namespace sinkstream {
namespace {

struct Architecture {
  const char* model_type;
  ModelConfig (*read)(const ConfigSection& file);
};

constexpr Architecture kArchitectures[] = {
    {"llama", read_llama},
    {"mistral", read_mistral},
    {"qwen2", read_qwen2},
    {"mpt", read_mpt},
    {"falcon", read_falcon},
    {"RefinedWeb", read_falcon},       // as the first Falcon 40B files call it
    {"RefinedWebModel", read_falcon},  // ... and the first 7B and RW files
    {"gpt_neox", read_gpt_neox},
};

ModelConfig read_architecture(const ConfigSection& file) {
  const std::string model_type = file.text("model_type");
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (model_type == architecture.model_type) return architecture.read(file);
    known += (known.empty() ? "" : ", ") + std::string(architecture.model_type);
  }
  file.refuse("model_type", in_quotes(model_type) + " is not supported; these are: " + known);
}

void add_end_tokens(const std::vector<TokenId>& tokens, ModelConfig& config) {
  for (const TokenId token : tokens) {
    if (std::ranges::find(config.end_tokens, token) == config.end_tokens.end())
      config.end_tokens.push_back(token);
  }
}

}  // namespace

ModelConfig read_model_config(const std::filesystem::path& directory) {
  const ConfigSection file(directory / "config.json");
  ModelConfig config = read_architecture(file);
  config.fingerprint = file.fingerprint();
  add_end_tokens(file.tokens("eos_token_id", config.vocab_size), config);

  const auto generation_file = directory / "generation_config.json";
  std::error_code error;
  if (std::filesystem::exists(generation_file, error) ||
      std::filesystem::is_symlink(generation_file, error)) {
    add_end_tokens(ConfigSection(generation_file).tokens("eos_token_id", config.vocab_size), config);
  }
  return config;
}

}  // namespace sinkstream
