// config.json as the families' checkpoints have been published over the years.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/worker/model/support/checkpoint_files.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {
namespace {

using nlohmann::json;
using testing::HasSubstr;

ModelConfig read(json config, const json& changes = json::object()) {
  config.update(changes);
  const TemporaryDirectory directory;
  write_file(directory.path() / "config.json", config.dump());
  return read_model_config(directory.path());
}

std::string complaint_about(const json& config, const json& changes) {
  try {
    read(config, changes);
    return "(accepted)";
  } catch (const StartupError& error) {
    return error.what();
  }
}

// ---- Mistral

const json kMistral = {
    {"architectures", {"MistralForCausalLM"}},
    {"bos_token_id", 1},
    {"eos_token_id", 2},
    {"hidden_act", "silu"},
    {"hidden_size", 4096},
    {"initializer_range", 0.02},
    {"intermediate_size", 14336},
    {"model_type", "mistral"},
    {"max_position_embeddings", 32768},
    {"num_attention_heads", 32},
    {"num_hidden_layers", 32},
    {"num_key_value_heads", 8},
    {"rms_norm_eps", 1e-05},
    {"rope_theta", 10000.0},
    {"sliding_window", 4096},
    {"tie_word_embeddings", false},
    {"torch_dtype", "bfloat16"},
    {"vocab_size", 32000},
};

TEST(PublishedMistral, SlidingWindow) {
  const ModelConfig config = read(kMistral);
  EXPECT_EQ(config.architecture, "mistral");
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.sliding_window, 4096);
  EXPECT_EQ(read(kMistral, {{"sliding_window", nullptr}}).sliding_window, 0) << "v0.2 and later";
  json without = kMistral;
  without.erase("sliding_window");
  EXPECT_EQ(read(without).sliding_window, 4096) << "the default of transformers";
}

TEST(PublishedMistral, NemosHeadsAndDefaults) {
  EXPECT_EQ(read(kMistral, {{"head_dim", 128}, {"hidden_size", 5120}}).head_dim, 128);
  json without = kMistral;
  without.erase("num_key_value_heads");
  EXPECT_EQ(read(without).num_kv_heads, 8) << "the default of transformers";
  EXPECT_EQ(read(kMistral, {{"num_key_value_heads", nullptr}}).num_kv_heads, 32);
  EXPECT_THAT(complaint_about(kMistral, {{"num_local_experts", 8}}),
              HasSubstr("num_local_experts: mixtures"));
}

// ---- MPT

const json kMpt = {
    {"architectures", {"MPTForCausalLM"}},
    {"attn_config",
     {{"alibi", true},
      {"alibi_bias_max", 8},
      {"attn_impl", "torch"},
      {"attn_pdrop", 0},
      {"attn_type", "multihead_attention"},
      {"attn_uses_sequence_id", false},
      {"clip_qkv", nullptr},
      {"prefix_lm", false},
      {"qk_ln", false},
      {"softmax_scale", nullptr}}},
    {"auto_map", {{"AutoModelForCausalLM", "modeling_mpt.MPTForCausalLM"}}},
    {"d_model", 4096},
    {"emb_pdrop", 0},
    {"embedding_fraction", 1.0},
    {"expansion_ratio", 4},
    {"init_config", {{"name", "kaiming_normal_"}}},
    {"learned_pos_emb", true},
    {"logit_scale", nullptr},
    {"max_seq_len", 2048},
    {"model_type", "mpt"},
    {"n_heads", 32},
    {"n_layers", 32},
    {"no_bias", true},
    {"norm_type", "low_precision_layernorm"},
    {"resid_pdrop", 0},
    {"torch_dtype", "bfloat16"},
    {"vocab_size", 50432},
};

json attention(json changes) {
  json config = kMpt["attn_config"];
  config.update(changes);
  return {{"attn_config", config}};
}

TEST(PublishedMpt, SevenB) {
  const ModelConfig config = read(kMpt);
  EXPECT_EQ(config.architecture, "mpt");
  EXPECT_EQ(config.num_kv_heads, 32);
  EXPECT_EQ(config.intermediate_size, 16384);
  EXPECT_EQ(config.trained_context, 2048);
  EXPECT_EQ(config.norm, NormKind::layer);
  EXPECT_FALSE(config.norm_bias);
  EXPECT_FALSE(config.qkv_bias || config.attention_out_bias);
  EXPECT_FALSE(config.parallel_residual);
  EXPECT_EQ(config.mlp, MlpKind::gelu);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.qkv_layout, QkvLayout::stacked);
  EXPECT_FLOAT_EQ(config.attention_scale, 1 / std::sqrt(128.0f));
  EXPECT_EQ(config.alibi_slopes.size(), 32u);
  EXPECT_TRUE(config.inverse_frequencies.empty());
}

TEST(PublishedMpt, EveryOption) {
  EXPECT_EQ(read(kMpt, attention({{"clip_qkv", 6}})).qkv_clip, 6.0f);
  EXPECT_EQ(read(kMpt, attention({{"softmax_scale", 0.25}})).attention_scale, 0.25f);
  EXPECT_TRUE(read(kMpt, attention({{"qk_ln", true}})).qk_norm);
  EXPECT_EQ(read(kMpt, attention({{"attn_type", "grouped_query_attention"}, {"kv_n_heads", 4}})).num_kv_heads,
            4);
  EXPECT_EQ(read(kMpt, attention({{"attn_type", "multiquery_attention"}})).num_kv_heads, 1);
  EXPECT_EQ(read(kMpt, {{"logit_scale", 0.5}}).logit_scale, 0.5f);
  EXPECT_EQ(read(kMpt, {{"logit_scale", "inv_sqrt_d_model"}}).logit_scale, 1 / 64.0f);
  EXPECT_EQ(read(kMpt, {{"n_heads", 31}, {"d_model", 31 * 128}}).alibi_slopes.size(), 31u);
  EXPECT_EQ(read(kMpt, {{"expansion_ratio", 2.5}}).intermediate_size, 10240);
  EXPECT_EQ(read(kMpt, {{"ffn_config", {{"ffn_act_fn", {{"name", "gelu"}, {"approximate", "tanh"}}}}}}).mlp,
            MlpKind::gelu_tanh);
  const ModelConfig biased = read(kMpt, {{"no_bias", false}, {"tie_word_embeddings", false}});
  EXPECT_TRUE(biased.norm_bias && biased.qkv_bias && biased.attention_out_bias && biased.mlp_bias);
  EXPECT_FALSE(biased.tied_embeddings);
}

TEST(PublishedMpt, WhatIsRefused) {
  const std::pair<json, const char*> cases[] = {
      {attention({{"alibi", false}}),
       "attn_config.alibi: must be true: without it MPT has learned positions"},
      {attention({{"rope", true}}), "attn_config.rope: changes"},
      {attention({{"attn_logit_softcapping", 30.0}}), "attn_config.attn_logit_softcapping: changes"},
      {attention({{"prefix_lm", true}}), "attn_config.prefix_lm: changes"},
      {attention({{"attn_type", "linear"}}), "attn_config.attn_type: \"linear\" is not supported"},
      {attention({{"sliding_window_size", 512}}), "attn_config.sliding_window_size: changes"},
      {attention({{"kv_n_heads", 5}}), "attn_config.kv_n_heads: 5 does not divide n_heads, 32"},
      {attention({{"clip_qkv", -1}}), "attn_config.clip_qkv: must be a positive number"},
      {{{"norm_type", "rmsnorm"}}, "norm_type: \"rmsnorm\" is not supported"},
      {{{"logit_scale", "sqrt"}}, "logit_scale: \"sqrt\" is not supported"},
      {{{"expansion_ratio", 0.0001}}, "expansion_ratio: makes no whole number"},
      {{{"ffn_config", {{"ffn_type", "mptglu"}}}}, "ffn_config.ffn_type: \"mptglu\" is not supported"},
      {{{"attn_config", 3}}, "attn_config: must be an object"},
  };
  for (const auto& [changes, complaint] : cases)
    EXPECT_THAT(complaint_about(kMpt, changes), HasSubstr(complaint));
  EXPECT_EQ(complaint_about(kMpt, attention({{"sliding_window_size", -1}, {"rope", false}})), "(accepted)");
}

// ---- Falcon

const json kFalcon7bOld = {
    {"alibi", false},
    {"apply_residual_connection_post_layernorm", false},
    {"architectures", {"RWForCausalLM"}},
    {"attention_dropout", 0.0},
    {"bias", false},
    {"bos_token_id", 11},
    {"eos_token_id", 11},
    {"hidden_dropout", 0.0},
    {"hidden_size", 4544},
    {"initializer_range", 0.02},
    {"layer_norm_epsilon", 1e-05},
    {"model_type", "RefinedWebModel"},
    {"multi_query", true},
    {"n_head", 71},
    {"n_layer", 32},
    {"parallel_attn", true},
    {"torch_dtype", "bfloat16"},
    {"vocab_size", 65024},
};

const json kFalcon40b = {
    {"alibi", false},
    {"bias", false},
    {"hidden_size", 8192},
    {"layer_norm_epsilon", 1e-05},
    {"model_type", "falcon"},
    {"new_decoder_architecture", true},
    {"num_attention_heads", 128},
    {"num_hidden_layers", 60},
    {"num_kv_heads", 8},
    {"parallel_attn", true},
    {"vocab_size", 65024},
};

TEST(PublishedFalcon, SevenBOldAndNewKeys) {
  json renamed = kFalcon7bOld;
  renamed["model_type"] = "falcon";
  renamed["num_attention_heads"] = renamed["n_head"];
  renamed["num_hidden_layers"] = renamed["n_layer"];
  renamed["new_decoder_architecture"] = false;
  renamed.erase("n_head");
  renamed.erase("n_layer");
  for (const json& file : {kFalcon7bOld, renamed}) {
    const ModelConfig config = read(file);
    EXPECT_EQ(config.architecture, "falcon");
    EXPECT_EQ(config.num_heads, 71);
    EXPECT_EQ(config.num_kv_heads, 1);
    EXPECT_EQ(config.head_dim, 64);
    EXPECT_EQ(config.intermediate_size, 4 * 4544);
    EXPECT_TRUE(config.parallel_residual);
    EXPECT_TRUE(config.shared_norm());
    EXPECT_TRUE(config.norm_bias);
    EXPECT_TRUE(config.tied_embeddings);
    EXPECT_EQ(config.qkv_layout, QkvLayout::grouped);
    EXPECT_EQ(config.inverse_frequencies.size(), 32u);
    EXPECT_EQ(config.trained_context, 2048);
  }
}

TEST(PublishedFalcon, FortyBAndElevenB) {
  const ModelConfig config = read(kFalcon40b);
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.names.attention_norm, "transformer.h.{}.ln_attn");
  EXPECT_EQ(config.names.mlp_norm, "transformer.h.{}.ln_mlp");
  json old = kFalcon40b;  // which says what it is by its type alone
  old.erase("new_decoder_architecture");
  old.erase("num_kv_heads");
  old.update({{"model_type", "RefinedWeb"}, {"n_head_kv", 8}});
  EXPECT_EQ(read(old).num_kv_heads, 8);
  EXPECT_EQ(read(old).names.mlp_norm, "transformer.h.{}.ln_mlp");

  const ModelConfig eleven = read(kFalcon40b, {{"num_ln_in_parallel_attn", 1}, {"ffn_hidden_size", 16384}});
  EXPECT_EQ(eleven.names.attention_norm, "transformer.h.{}.input_layernorm");
  EXPECT_TRUE(eleven.shared_norm());
  EXPECT_EQ(eleven.intermediate_size, 16384);
}

TEST(PublishedFalcon, Rw) {
  const ModelConfig config = read(kFalcon7bOld, {{"alibi", true},
                                                 {"bias", true},
                                                 {"hidden_size", 2048},
                                                 {"multi_query", false},
                                                 {"n_head", 32},
                                                 {"parallel_attn", false}});
  EXPECT_EQ(config.num_kv_heads, 32);
  EXPECT_FALSE(config.parallel_residual);
  EXPECT_EQ(config.names.mlp_norm, "transformer.h.{}.post_attention_layernorm");
  EXPECT_TRUE(config.qkv_bias && config.attention_out_bias && config.mlp_bias);
  ASSERT_EQ(config.alibi_slopes.size(), 32u);
  EXPECT_FLOAT_EQ(config.alibi_slopes[31], 1.0f / 256 / 8) << "added before the scores are scaled by 1 / 8";
  EXPECT_TRUE(config.inverse_frequencies.empty());
}

TEST(PublishedFalcon, WhatIsRefused) {
  EXPECT_THAT(complaint_about(kFalcon7bOld, {{"apply_residual_connection_post_layernorm", true}}),
              HasSubstr("apply_residual_connection_post_layernorm: not supported"));
  EXPECT_THAT(complaint_about(kFalcon40b, {{"partial_rotary_factor", 0.5}}),
              HasSubstr("partial_rotary_factor: partial rotary is not supported"));
  EXPECT_THAT(complaint_about(kFalcon40b, {{"num_kv_heads", 7}}),
              HasSubstr("num_kv_heads: 7 does not divide"));
  EXPECT_THAT(complaint_about(kFalcon40b, {{"activation", "relu"}}),
              HasSubstr("activation: \"relu\" is not supported"));
  EXPECT_THAT(complaint_about(kFalcon40b, {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}),
              HasSubstr("rope_scaling.type: \"dynamic\" is not supported"));
}

// ---- GPT-NeoX

const json kPythia = {
    {"architectures", {"GPTNeoXForCausalLM"}},
    {"bos_token_id", 0},
    {"eos_token_id", 0},
    {"hidden_act", "gelu"},
    {"hidden_size", 4096},
    {"initializer_range", 0.02},
    {"intermediate_size", 16384},
    {"layer_norm_eps", 1e-05},
    {"max_position_embeddings", 2048},
    {"model_type", "gpt_neox"},
    {"num_attention_heads", 32},
    {"num_hidden_layers", 32},
    {"rotary_emb_base", 10000},
    {"rotary_pct", 0.25},
    {"tie_word_embeddings", false},
    {"torch_dtype", "float16"},
    {"use_cache", true},
    {"use_parallel_residual", true},
    {"vocab_size", 50432},
};

TEST(PublishedGptNeox, PythiaOldAndNewKeys) {
  json renamed = kPythia;
  renamed.erase("rotary_pct");
  renamed.erase("rotary_emb_base");
  renamed["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 10000}, {"partial_rotary_factor", 0.25}};
  for (const json& file : {kPythia, renamed}) {
    const ModelConfig config = read(file);
    EXPECT_EQ(config.architecture, "gpt_neox");
    EXPECT_EQ(config.num_kv_heads, 32);
    EXPECT_TRUE(config.parallel_residual);
    EXPECT_FALSE(config.shared_norm());
    EXPECT_TRUE(config.qkv_bias && config.attention_out_bias && config.mlp_bias && config.norm_bias);
    EXPECT_EQ(config.mlp, MlpKind::gelu);
    ASSERT_EQ(config.inverse_frequencies.size(), 16u);
    EXPECT_NEAR(config.inverse_frequencies[8], 0.01, 1e-8);
  }
}

TEST(PublishedGptNeox, Variants) {
  EXPECT_FALSE(read(kPythia, {{"use_parallel_residual", false}}).parallel_residual);
  EXPECT_EQ(read(kPythia, {{"rotary_pct", 1.0}}).inverse_frequencies.size(), 64u);
  EXPECT_NEAR(read(kPythia, {{"rotary_emb_base", 1000000}}).inverse_frequencies[8], 0.001, 1e-9);
  EXPECT_EQ(read(kPythia, {{"partial_rotary_factor", 1.0}, {"rope_theta", 1}}).inverse_frequencies,
            read(kPythia).inverse_frequencies)
      << "not this family's keys, as in transformers";
  for (const char* name : {"gelu_new", "gelu_fast", "gelu_pytorch_tanh"}) {
    EXPECT_EQ(read(kPythia, {{"hidden_act", name}}).mlp, MlpKind::gelu_tanh);
  }
  const ModelConfig unbiased = read(kPythia, {{"attention_bias", false}});
  EXPECT_FALSE(unbiased.qkv_bias || unbiased.attention_out_bias);
  EXPECT_THAT(complaint_about(kPythia, {{"hidden_act", "relu"}}),
              HasSubstr("hidden_act: \"relu\" is not supported"));
  EXPECT_THAT(complaint_about(kPythia, {{"rotary_pct", 0.0078125}}),
              HasSubstr("rotary_pct: makes 1 of a head's 128 features rotary"));
  EXPECT_THAT(complaint_about(kPythia, {{"rotary_pct", 2}}), HasSubstr("rotary_pct: makes 256"));
}

// Qwen2.5-0.5B-Instruct's config.json.
const json kQwen2 = {
    {"architectures", {"Qwen2ForCausalLM"}},
    {"attention_dropout", 0.0},
    {"bos_token_id", 151643},
    {"eos_token_id", 151645},
    {"hidden_act", "silu"},
    {"hidden_size", 896},
    {"initializer_range", 0.02},
    {"intermediate_size", 4864},
    {"max_position_embeddings", 32768},
    {"max_window_layers", 21},
    {"model_type", "qwen2"},
    {"num_attention_heads", 14},
    {"num_hidden_layers", 24},
    {"num_key_value_heads", 2},
    {"rms_norm_eps", 1e-06},
    {"rope_theta", 1000000.0},
    {"sliding_window", 32768},
    {"tie_word_embeddings", true},
    {"torch_dtype", "bfloat16"},
    {"use_cache", true},
    {"use_sliding_window", false},
    {"vocab_size", 151936},
};

TEST(PublishedQwen2, HalfABillion) {
  const ModelConfig config = read(kQwen2);
  EXPECT_EQ(config.architecture, "qwen2");
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_TRUE(config.qkv_bias);
  EXPECT_FALSE(config.attention_out_bias || config.mlp_bias);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.sliding_window, 0) << "use_sliding_window is false";
  EXPECT_THAT(complaint_about(kQwen2, {{"use_sliding_window", true}}),
              HasSubstr("use_sliding_window: a window in some of the layers only"));
}

}  // namespace
}  // namespace sinkstream
