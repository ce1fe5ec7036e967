// What loading takes beyond the weights that it leaves.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/host_backend.h"
#include "worker/model/tensors.h"

namespace sinkstream {
namespace {

using kernels::WeightFormat;

// A line of /proc/self/status, in bytes; -1 where there is none.
std::int64_t status_bytes(const std::string& wanted) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    std::int64_t kibibytes = 0;
    if (words >> name >> kibibytes && name == wanted + ":") return kibibytes * 1024;
  }
  return -1;
}

// Lets the peak be measured anew; whether the system allows it.
bool forget_peak() {
  std::ofstream out("/proc/self/clear_refs");
  out << "5" << std::flush;
  return out.good();
}

// A Llama of 67 MB in bf16, most of it in three matrices of one layer.
class LoadMemory : public testing::TestWithParam<WeightFormat> {
 protected:
  static constexpr std::int64_t kHidden = 512, kInner = 21'504;
  static constexpr std::int64_t kFileBytes = 2 * 3 * kHidden * kInner;

  LoadMemory() {
    const nlohmann::json config = {{"model_type", "llama"},       {"hidden_size", kHidden},
                                   {"num_hidden_layers", 1},      {"num_attention_heads", 8},
                                   {"intermediate_size", kInner}, {"vocab_size", 16}};
    write_file(directory_.path() / "config.json", config.dump());
    SafetensorsFile file;
    const auto add = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
      const auto count = static_cast<std::size_t>(shape[0] * (shape.size() == 2 ? shape[1] : 1));
      file.add(name, "BF16", shape, std::string(2 * count, '\x3c'));
    };
    add("model.embed_tokens.weight", {16, kHidden});
    add("lm_head.weight", {16, kHidden});
    add("model.norm.weight", {kHidden});
    const std::string layer = "model.layers.0.";
    for (const char* name : {"input_layernorm", "post_attention_layernorm"})
      add(layer + name + ".weight", {kHidden});
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      add(layer + "self_attn." + name + ".weight", {kHidden, kHidden});
    }
    for (const char* name : {"gate_proj", "up_proj"})
      add(layer + "mlp." + name + ".weight", {kInner, kHidden});
    add(layer + "mlp.down_proj.weight", {kHidden, kInner});
    write_file(directory_.path() / "model.safetensors", file.to_bytes());
  }

  TemporaryDirectory directory_;
  HostBackendAlone alone_;
};

TEST_P(LoadMemory, IsLittleMoreThanThePackedWeights) {
  const ModelConfig config = read_model_config(directory_.path());
  for (const int ranks : {1, 2}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    const ShardPlan plan = make_shard_plan(config.shard_sizes(), ranks, 0);
    const std::int64_t packed = weight_bytes(
        config, plan, GetParam(), [&](const auto& shape) { return alone_.backend->packed_bytes(shape); });
    if (!forget_peak()) GTEST_SKIP() << "this system does not let the peak be measured anew";
    const std::int64_t before = status_bytes("VmRSS");
    const Checkpoint checkpoint(directory_.path());
    const Weights weights = load_weights(checkpoint, config, plan, GetParam(), *alone_.backend, {});
    const std::int64_t more = status_bytes("VmHWM") - before - packed;
    EXPECT_LT(more, kFileBytes / 4) << "a part of the file at a time, and what the process takes otherwise";
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, LoadMemory,
                         testing::Values(WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace sinkstream
