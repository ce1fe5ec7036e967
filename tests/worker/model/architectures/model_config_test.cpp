#include "worker/model/architectures/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/worker/model/support/checkpoint_files.h"

namespace sinkstream {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

// Llama 1's configuration as published, with the keys of its time, and `changes`.
ModelConfig read_llama_1(const json& changes, const json& generation = {}) {
  json config = {{"architectures", {"LLaMAForCausalLM"}},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2},
                 {"hidden_act", "silu"},
                 {"hidden_size", 4096},
                 {"intermediate_size", 11008},
                 {"initializer_range", 0.02},
                 {"max_sequence_length", 2048},
                 {"model_type", "llama"},
                 {"num_attention_heads", 32},
                 {"num_hidden_layers", 32},
                 {"pad_token_id", -1},
                 {"rms_norm_eps", 1e-05},
                 {"torch_dtype", "float16"},
                 {"transformers_version", "4.27.0.dev0"},
                 {"use_cache", true},
                 {"vocab_size", 32000}};
  config.update(changes);
  const TemporaryDirectory directory;
  write_file(directory.path() / "config.json", config.dump());
  if (!generation.is_null()) write_file(directory.path() / "generation_config.json", generation.dump());
  return read_model_config(directory.path());
}

TEST(ModelConfig, ReadsOldKeysWithTheirDefaults) {
  const ModelConfig config = read_llama_1(json::object());
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.num_layers, 32);
  EXPECT_EQ(config.num_kv_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.trained_context, 2048);
  EXPECT_EQ(config.norm_epsilon, 1e-5f);
  EXPECT_FALSE(config.qkv_bias || config.attention_out_bias);
  EXPECT_FALSE(config.mlp_bias);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_THAT(config.end_tokens, ElementsAre(2));
  ASSERT_EQ(config.inverse_frequencies.size(), 64u);
  EXPECT_EQ(config.inverse_frequencies[0], 1.0f);
  EXPECT_NEAR(config.inverse_frequencies[63], std::pow(10000.0, -126.0 / 128), 1e-11);
}

TEST(ModelConfig, ReadsNewKeys) {
  const ModelConfig config =
      read_llama_1({{"num_key_value_heads", 8},
                    {"head_dim", 64},
                    {"max_position_embeddings", 131072},
                    {"attention_bias", true},
                    {"mlp_bias", true},
                    {"tie_word_embeddings", true},
                    {"dtype", "bfloat16"},
                    {"rope_parameters", {{"rope_theta", 500000.0}, {"rope_type", "default"}}}});
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.group_size(), 4);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.trained_context, 131072);
  EXPECT_TRUE(config.qkv_bias && config.attention_out_bias);
  EXPECT_TRUE(config.mlp_bias);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_NEAR(config.inverse_frequencies[16], std::pow(500000.0, -0.5), 1e-9);
}

TEST(ModelConfig, NullsAreAbsent) {
  const ModelConfig config = read_llama_1({{"num_key_value_heads", nullptr},
                                           {"head_dim", nullptr},
                                           {"bos_token_id", nullptr},
                                           {"eos_token_id", nullptr},
                                           {"rope_scaling", nullptr},
                                           {"sliding_window", nullptr},
                                           {"quantization_config", nullptr}});
  EXPECT_EQ(config.num_kv_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_THAT(config.end_tokens, IsEmpty());
}

TEST(ModelConfig, EndTokensComeFromBothFilesWithoutRepeats) {
  EXPECT_THAT(read_llama_1({{"eos_token_id", {7, 8}}}).end_tokens, ElementsAre(7, 8));
  EXPECT_THAT(read_llama_1({{"eos_token_id", 7}}, {{"eos_token_id", {9, 7, 9}}}).end_tokens,
              ElementsAre(7, 9));
  EXPECT_THAT(read_llama_1({{"eos_token_id", nullptr}}, {{"eos_token_id", 5}}).end_tokens, ElementsAre(5));
  EXPECT_THAT(read_llama_1(json::object(), json::object()).end_tokens, ElementsAre(2));
  EXPECT_THAT(read_llama_1({{"eos_token_id", {-1, 7, 32000}}}).end_tokens, ElementsAre(7))
      << "others never come";
}

TEST(RotaryFrequencies, LinearScalingDivides) {
  const auto plain = read_llama_1(json::object()).inverse_frequencies;
  const auto old_key =
      read_llama_1({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}}).inverse_frequencies;
  const auto new_key =
      read_llama_1({{"rope_parameters", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 10000}}}})
          .inverse_frequencies;
  EXPECT_EQ(old_key, new_key);
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(old_key[i], plain[i] / 4);
}

TEST(RotaryFrequencies, TheFirstSectionThatHoldsAnythingCounts) {
  const json linear = {{"rope_type", "linear"}, {"factor", 4.0}};
  const auto scaled = read_llama_1({{"rope_parameters", linear}}).inverse_frequencies;
  EXPECT_EQ(read_llama_1({{"rope_scaling", json::object()}, {"rope_parameters", linear}}).inverse_frequencies,
            scaled);
  EXPECT_EQ(read_llama_1({{"rope_scaling", linear}, {"rope_parameters", {{"rope_type", "default"}}}})
                .inverse_frequencies,
            scaled);
}

TEST(RotaryFrequencies, Llama3sTrainedContextMayStandOutsideOrNowhere) {
  const auto with = [](const json& inside, const json& outside) {
    json scaling = {
        {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"rope_type", "llama3"}};
    scaling.update(inside);
    json changes = {{"rope_scaling", scaling}, {"max_position_embeddings", 4096}};
    changes.update(outside);
    return read_llama_1(changes).inverse_frequencies;
  };
  const json key_4096 = {{"original_max_position_embeddings", 4096}};
  const json key_1024 = {{"original_max_position_embeddings", 1024}};
  EXPECT_EQ(with(json::object(), json::object()), with(key_4096, json::object()));
  EXPECT_EQ(with(key_1024, key_4096), with(key_4096, json::object()));
  EXPECT_NE(with(key_1024, json::object()), with(key_4096, json::object()));
}

// Llama 3.1 8B; numbers of transformers 5 (first, and around the two borders of the interpolation).
TEST(RotaryFrequencies, Llama3Scaling) {
  const json scaling = {{"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192},
                        {"rope_type", "llama3"}};
  const auto plain = read_llama_1({{"rope_theta", 500000.0}}).inverse_frequencies;
  const auto scaled = read_llama_1({{"rope_theta", 500000.0}, {"rope_scaling", scaling}}).inverse_frequencies;
  ASSERT_EQ(scaled.size(), 64u);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * M_PI / plain[i];
    double expected = plain[i];
    if (wavelength > 8192.0) {
      expected = plain[i] / 8.0;
    } else if (wavelength >= 8192.0 / 4) {
      const double smooth = (8192.0 / wavelength - 1.0) / 3.0;
      expected = (1 - smooth) * plain[i] / 8.0 + smooth * plain[i];
    }
    EXPECT_NEAR(scaled[i], expected, expected * 1e-5) << i;
  }
  EXPECT_EQ(scaled[28], plain[28]) << "short waves stay";
  EXPECT_LT(scaled[29], plain[29]) << "interpolated from here";
  EXPECT_GT(scaled[34], plain[34] / 8) << "to here";
  EXPECT_EQ(scaled[35], plain[35] / 8) << "long waves are stretched";
}

}  // namespace
}  // namespace sinkstream
