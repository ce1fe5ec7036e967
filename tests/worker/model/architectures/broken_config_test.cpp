// Configurations that are broken, or ask for what is not built: each is refused by the key's name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/error.h"
#include "tests/worker/model/support/checkpoint_files.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct BadConfig {
  std::string name;
  json changes;  // to the golden config.json
  std::vector<std::string> complaint;

  friend void PrintTo(const BadConfig& bad, std::ostream* out) { *out << bad.name; }
};

json rope(const json& parameters) {
  return {{"rope_parameters", parameters}};
}

json llama3_without(const char* key) {
  json parameters = {{"rope_type", "llama3"},  {"factor", 8.0},
                     {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0},
                     {"rope_theta", 10000.0},  {"original_max_position_embeddings", 8192}};
  parameters.erase(key);
  return rope(parameters);
}

const BadConfig kBadConfigs[] = {
    {"OtherArchitecture", {{"model_type", "mamba"}}, {"model_type: \"mamba\" is not supported", "llama"}},
    {"NoArchitecture", {{"model_type", nullptr}}, {"model_type: missing"}},
    {"ArchitectureNotText", {{"model_type", 3}}, {"model_type: must be a text"}},
    {"OtherActivation", {{"hidden_act", "gelu"}}, {"hidden_act: \"gelu\" is not supported"}},
    {"Quantized", {{"quantization_config", {{"quant_method", "gptq"}}}}, {"quantization_config: quantized"}},
    {"SlidingWindow", {{"sliding_window", 4096}}, {"sliding_window: not supported"}},
    {"PartialRotary", {{"partial_rotary_factor", 0.5}}, {"partial_rotary_factor: "}},
    {"PartialRotaryNewKey",
     rope({{"partial_rotary_factor", 0.25}}),
     {"partial_rotary_factor: partial rotary is not supported"}},
    {"DynamicRope",
     {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}},
     {"rope_scaling.type: \"dynamic\" is not supported"}},
    {"Yarn",
     {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}}},
     {"rope_scaling.rope_type: \"yarn\""}},
    {"LongRope", rope({{"rope_type", "longrope"}}), {"rope_parameters.rope_type: \"longrope\""}},
    {"RopeNotAnObject", {{"rope_scaling", "linear"}}, {"rope_scaling: must be an object"}},
    {"LinearWithoutFactor", rope({{"rope_type", "linear"}}), {"rope_parameters.factor: missing"}},
    {"ZeroFactor",
     rope({{"rope_type", "linear"}, {"factor", 0}}),
     {"rope_parameters.factor: must be a positive"}},
    {"UnknownRopeKey",
     rope({{"llama_4_scaling_beta", 0.1}}),
     {"rope_parameters.llama_4_scaling_beta: is not supported in a rotary scaling"}},
    {"LayerTypes",
     {{"layer_types", {"full_attention", "sliding_attention"}}},
     {"layer_types: \"sliding_attention\" is not supported"}},
    {"QueryNorms", {{"qk_norm", true}}, {"qk_norm: changes"}},
    {"Vision", {{"vision_config", {{"hidden_size", 64}}}}, {"vision_config: models of more than text"}},
    {"Clip", {{"clip_qkv", 8}}, {"clip_qkv: not supported"}},
    {"Llama3WithoutFactor", llama3_without("low_freq_factor"), {"rope_parameters.low_freq_factor: missing"}},
    {"NegativeTheta",
     rope({{"rope_theta", -1.0}}),
     {"rope_parameters.rope_theta: must be a positive number, not -1"}},
    {"NoLayers", {{"num_hidden_layers", 0}}, {"num_hidden_layers: must be a whole number from 1 to"}},
    {"NegativeHidden", {{"hidden_size", -64}}, {"hidden_size: must be", "-64"}},
    {"FractionalHeads", {{"num_attention_heads", 8.5}}, {"num_attention_heads: must be", "8.5"}},
    {"TextVocabulary", {{"vocab_size", "256"}}, {"vocab_size: must be a whole number"}},
    {"HugeVocabulary", {{"vocab_size", 4'000'000'000u}}, {"vocab_size: must be", "4000000000"}},
    {"HugeHidden", {{"hidden_size", 18446744073709551615u}}, {"hidden_size: must be"}},
    {"MlpMissing", {{"intermediate_size", nullptr}}, {"intermediate_size: missing"}},
    {"KvHeadsDoNotDivide", {{"num_key_value_heads", 3}}, {"num_key_value_heads: 3 does not divide"}},
    {"MoreKvHeadsThanHeads", {{"num_key_value_heads", 16}}, {"num_key_value_heads: 16 does not divide"}},
    {"HeadsDoNotDivide",
     {{"head_dim", nullptr}, {"num_attention_heads", 12}, {"num_key_value_heads", 12}},
     {"hidden_size: 64 is not a multiple of num_attention_heads"}},
    {"OddHeadDim", {{"head_dim", 7}}, {"head_dim: must be even"}},
    {"HugeHeads",
     {{"num_attention_heads", 1 << 20}, {"num_key_value_heads", 1}, {"head_dim", 1024}},
     {"num_attention_heads: "}},
    {"NegativeEpsilon", {{"rms_norm_eps", -1e-6}}, {"rms_norm_eps: must be a positive number"}},
    {"BiasNotAFlag", {{"attention_bias", 1}}, {"attention_bias: must be true or false, not 1"}},
    {"EndTokenNotANumber", {{"eos_token_id", "2"}}, {"eos_token_id: \"2\" is not a token id"}},
};

std::string complaint_about(const std::filesystem::path& directory) {
  try {
    read_model_config(directory);
    return "(accepted)";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::model);
    return error.what();
  }
}

class BrokenConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(BrokenConfig, IsRefusedByKey) {
  const TemporaryDirectory directory;
  auto config = json::parse(read_file(golden_directory() / "config.json"));
  config.update(GetParam().changes);
  write_file(directory.path() / "config.json", config.dump());
  const std::string complaint = complaint_about(directory.path());
  EXPECT_THAT(complaint, HasSubstr((directory.path() / "config.json").string()));
  for (const std::string& part : GetParam().complaint) EXPECT_THAT(complaint, HasSubstr(part));
}

INSTANTIATE_TEST_SUITE_P(Keys, BrokenConfig, testing::ValuesIn(kBadConfigs),
                         [](const auto& test) { return test.param.name; });

TEST(BrokenConfigFile, IsRefusedByName) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "config.json";
  EXPECT_THAT(complaint_about(directory.path()), HasSubstr("config.json: no such file"));
  const std::vector<std::pair<std::string, std::string>> contents = {
      {"", "is empty, as an interrupted download"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 651\n", "a Git LFS pointer"},
      {"{\"model_type\": ", "is the download complete?"},
      {"[]", "not a JSON object"},
      {"{\"model_type\": \"llama\", \"model_type\": \"llama\"}", "\"model_type\" stands there twice"},
      {std::string("{\"a\": ").append(100'000, '[').append(100'000, ']').append("}"), "nested too deeply"},
      {std::string(17 << 20, ' '), "larger than 16 MiB"},
      {"{\"model_type\": \"\xc3\"}", "not valid JSON"},
      {"{\"model_type\": \"a\\u001b[31m\"}", "\"a?[31m\""},
  };
  for (const auto& [content, reason] : contents) {
    write_file(path, content);
    EXPECT_THAT(complaint_about(directory.path()), HasSubstr(reason));
  }
}

TEST(BrokenConfigFile, TheGenerationConfigIsCheckedToo) {
  const TemporaryDirectory directory;
  write_file(directory.path() / "config.json", read_file(golden_directory() / "config.json"));
  write_file(directory.path() / "generation_config.json", "{\"eos_token_id\": \"x\"}");
  EXPECT_THAT(complaint_about(directory.path()), HasSubstr("generation_config.json: eos_token_id: \"x\""));
}

}  // namespace
}  // namespace sinkstream
