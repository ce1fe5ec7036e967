// Mistral 7B and its successors without experts (Jiang et al. 2023): Llama with a sliding window.
#include "worker/model/architectures/architectures.h"
#include "worker/model/architectures/reading.h"

namespace sinkstream {

ModelConfig read_mistral(const ConfigSection& file) {
  constexpr std::int64_t kDefaultKvHeads = 8;
  constexpr std::int64_t kDefaultWindow = 4096;  // of a file that has no such key; null means none
  file.refuse_if_set("attention_bias", "not supported for Mistral");
  file.refuse_if_set("mlp_bias", "not supported for Mistral");
  const bool all_heads = file.is_null("num_key_value_heads");
  ModelConfig config = read_llama_family(file, all_heads ? 0 : kDefaultKvHeads);
  config.architecture = "mistral";
  const bool has_window = !file.is_null("sliding_window");
  config.sliding_window = has_window ? file.size_or("sliding_window", kMaxContext, kDefaultWindow) : 0;
  return config;
}

}  // namespace sinkstream
