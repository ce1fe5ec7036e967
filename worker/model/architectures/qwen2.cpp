// Qwen 2 and 2.5 without experts (Yang et al. 2024): Llama with biases on queries, keys and values.
#include "worker/model/architectures/architectures.h"
#include "worker/model/architectures/reading.h"

namespace sinkstream {

ModelConfig read_qwen2(const ConfigSection& file) {
  constexpr std::int64_t kDefaultKvHeads = 32;
  file.refuse_if_set("use_sliding_window", "a window in some of the layers only is not supported");
  file.refuse_if_set("mlp_bias", "not supported for Qwen 2");
  const bool all_heads = file.is_null("num_key_value_heads");
  ModelConfig config = read_llama_family(file, all_heads ? 0 : kDefaultKvHeads);
  config.architecture = "qwen2";
  config.qkv_bias = true;
  return config;
}

}  // namespace sinkstream
