#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tests/kernels/awkward/awkward_backend.h"
#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/host_backend.h"
#include "worker/model/tensors.h"

namespace sinkstream {
namespace {

using kernels::DType;
using kernels::WeightFormat;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

// A Llama of one layer with every bias; each number says where it stands.
class WeightsTest : public testing::Test {
 protected:
  static constexpr std::int64_t kHidden = 6, kHeads = 5, kKvHeads = 5, kHeadDim = 2, kInner = 7, kVocab = 11;

  WeightsTest() {
    nlohmann::json config = {
        {"model_type", "llama"},         {"hidden_size", kHidden}, {"num_hidden_layers", 1},
        {"num_attention_heads", kHeads}, {"head_dim", kHeadDim},   {"intermediate_size", kInner},
        {"vocab_size", kVocab},          {"attention_bias", true}, {"mlp_bias", true},
        {"tie_word_embeddings", true},
    };
    write_file(directory_.path() / "config.json", config.dump());
    const std::string layer = "model.layers.0.";
    add("model.embed_tokens.weight", {kVocab, kHidden});
    add("model.norm.weight", {kHidden});
    add(layer + "input_layernorm.weight", {kHidden});
    add(layer + "post_attention_layernorm.weight", {kHidden});
    add_linear(layer + "self_attn.q_proj", kHeads * kHeadDim, kHidden);
    add_linear(layer + "self_attn.k_proj", kKvHeads * kHeadDim, kHidden);
    add_linear(layer + "self_attn.v_proj", kKvHeads * kHeadDim, kHidden);
    add_linear(layer + "self_attn.o_proj", kHidden, kHeads * kHeadDim);
    add_linear(layer + "mlp.gate_proj", kInner, kHidden);
    add_linear(layer + "mlp.up_proj", kInner, kHidden);
    add_linear(layer + "mlp.down_proj", kHidden, kInner);
    write_file(directory_.path() / "model.safetensors", file_.to_bytes());
    config_ = read_model_config(directory_.path());
  }

  Weights load(int ranks, int rank, WeightFormat format = WeightFormat::f32) const {
    const Checkpoint checkpoint(directory_.path());
    return load_weights(checkpoint, config_, make_shard_plan(config_.shard_sizes(), ranks, rank), format,
                        *alone_.backend, {});
  }

  // What the checkpoint has at [row, column] of a tensor.
  float stored(const std::string& name, std::int64_t row, std::int64_t column = 0) const {
    const auto& shape = file_.header.at(name).at("shape");
    const std::int64_t width = shape.size() == 2 ? shape.at(1).get<std::int64_t>() : 1;
    const std::string bytes = file_.bytes_of(name);
    float value = 0;
    std::memcpy(&value, bytes.data() + static_cast<std::size_t>(row * width + column) * sizeof value,
                sizeof value);
    return value;
  }

  // Rows of `part` from `first_row` on are rows `rows` of a stored matrix, cut to `columns`.
  void expect_slice(const LinearWeights& part, std::int64_t first_row, const std::string& name, Range rows,
                    Range columns) const {
    ASSERT_EQ(part.weight.shape.in_features, columns.size());
    ASSERT_LE(first_row + rows.size(), part.weight.shape.out_features);
    for (std::int64_t r = 0; r < rows.size(); ++r) {
      const std::vector<float> values = row_of(part.weight, first_row + r);
      for (std::int64_t c = 0; c < columns.size(); ++c) {
        ASSERT_EQ(values[static_cast<std::size_t>(c)],
                  stored(name + ".weight", rows.begin + r, columns.begin + c))
            << name << " row " << r << " column " << c;
      }
    }
  }

  void expect_bias(const LinearWeights& part, std::int64_t first, const std::string& name, Range rows) const {
    for (std::int64_t r = 0; r < rows.size(); ++r) {
      ASSERT_LT(first + r, part.bias.size);
      ASSERT_EQ(element_of(part.bias, first + r), stored(name + ".bias", rows.begin + r)) << name;
    }
  }

  HostBackendAlone alone_;
  TemporaryDirectory directory_;
  SafetensorsFile file_;
  ModelConfig config_;

 private:
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape[0] * (shape.size() == 2 ? shape[1] : 1)));
    for (float& value : values) value = static_cast<float>(next_++);
    file_.add(name, "F32", shape, encode(values, DType::f32));
  }
  void add_linear(const std::string& name, std::int64_t out_features, std::int64_t in_features) {
    add(name + ".weight", {out_features, in_features});
    add(name + ".bias", {out_features});
  }
  int next_ = 1;
};

TEST_F(WeightsTest, EachRankHoldsItsSlices) {
  for (const int ranks : {1, 2, 3, 5}) {
    for (int rank = 0; rank < ranks; ++rank) {
      SCOPED_TRACE(std::to_string(rank) + " of " + std::to_string(ranks));
      const ShardPlan plan = make_shard_plan(config_.shard_sizes(), ranks, rank);
      const Weights weights = load(ranks, rank);
      const LayerWeights& layer = weights.layers.at(0);
      const Range q = {plan.heads.begin * kHeadDim, plan.heads.end * kHeadDim};
      const Range kv = {plan.kv_heads.begin * kHeadDim, plan.kv_heads.end * kHeadDim};
      const Range hidden = {0, kHidden};
      const std::string attention = "model.layers.0.self_attn.", mlp = "model.layers.0.mlp.";

      EXPECT_EQ(layer.qkv.weight.shape.out_features, q.size() + 2 * kv.size());
      expect_slice(layer.qkv, 0, attention + "q_proj", q, hidden);
      expect_slice(layer.qkv, q.size(), attention + "k_proj", kv, hidden);
      expect_slice(layer.qkv, q.size() + kv.size(), attention + "v_proj", kv, hidden);
      expect_bias(layer.qkv, 0, attention + "q_proj", q);
      expect_bias(layer.qkv, q.size(), attention + "k_proj", kv);
      expect_bias(layer.qkv, q.size() + kv.size(), attention + "v_proj", kv);
      EXPECT_EQ(layer.qkv.bias.size, layer.qkv.weight.shape.out_features);

      expect_slice(layer.attention_out, 0, attention + "o_proj", hidden, q);
      expect_slice(layer.mlp_up, 0, mlp + "gate_proj", plan.mlp, hidden);
      expect_slice(layer.mlp_up, plan.mlp.size(), mlp + "up_proj", plan.mlp, hidden);
      expect_bias(layer.mlp_up, plan.mlp.size(), mlp + "up_proj", plan.mlp);
      expect_slice(layer.mlp_down, 0, mlp + "down_proj", hidden, plan.mlp);
      expect_slice(weights.embedding, 0, "model.embed_tokens", plan.vocab, hidden);
    }
  }
}

TEST_F(WeightsTest, BiasesAfterASumAreTheLeadersAlone) {
  const Weights leader = load(2, 0);
  const Weights other = load(2, 1);
  expect_bias(leader.layers[0].attention_out, 0, "model.layers.0.self_attn.o_proj", {0, kHidden});
  expect_bias(leader.layers[0].mlp_down, 0, "model.layers.0.mlp.down_proj", {0, kHidden});
  EXPECT_TRUE(other.layers[0].attention_out.bias.empty());
  EXPECT_TRUE(other.layers[0].mlp_down.bias.empty());
}

TEST_F(WeightsTest, NormsAreWholeAndTheTiedHeadSharesMemory) {
  const Weights weights = load(3, 2);
  EXPECT_EQ(weights.final_norm.weight.size, kHidden);
  EXPECT_EQ(element_of(weights.final_norm.weight, 4), stored("model.norm.weight", 4));
  EXPECT_EQ(element_of(weights.layers[0].mlp_norm.weight, 5),
            stored("model.layers.0.post_attention_layernorm.weight", 5));
  EXPECT_EQ(weights.lm_head.weight.memory.address(), weights.embedding.weight.memory.address());
}

TEST_F(WeightsTest, Bfloat16IsRounded) {
  const Weights weights = load(1, 0, WeightFormat::bf16);
  ASSERT_EQ(weights.embedding.weight.shape.format, WeightFormat::bf16);
  for (std::int64_t row = 0; row < kVocab; ++row) {
    const std::vector<float> values = row_of(weights.embedding.weight, row);
    for (std::int64_t i = 0; i < kHidden; ++i) {
      const float exact = stored("model.embed_tokens.weight", row, i);
      EXPECT_EQ(values[i], kernels::to_float(kernels::to_bfloat16(exact)));
    }
  }
}

TEST_F(WeightsTest, TheVocabularyKeepsEightBits) {
  const Weights weights = load(1, 0, WeightFormat::int4);
  EXPECT_EQ(weights.embedding.weight.shape.format, WeightFormat::int8);
  EXPECT_EQ(weights.lm_head.weight.shape.format, WeightFormat::int8);
  EXPECT_EQ(weights.layers[0].mlp_up.weight.shape.format, WeightFormat::int4);
}

// A quantized weight has the same value on any number of ranks, also where they cut its groups: within the
// MLP, between the heads of one group, and in the vocabulary that embedding and head share.
TEST_F(WeightsTest, QuantizedValuesDoNotDependOnTheRanks) {
  const auto expect_columns = [](const LinearWeights& part, const LinearWeights& whole, Range columns) {
    for (std::int64_t row = 0; row < kHidden; ++row) {
      const auto all = row_of(whole.weight, row);
      EXPECT_EQ(row_of(part.weight, row),
                std::vector(all.begin() + columns.begin, all.begin() + columns.end));
    }
  };
  for (const WeightFormat format : {WeightFormat::int8, WeightFormat::int4}) {
    const Weights whole = load(1, 0, format);
    for (const int ranks : {2, 3, 5}) {
      for (int rank = 0; rank < ranks; ++rank) {
        SCOPED_TRACE(std::string(name_of(format)) + ", " + std::to_string(rank) + " of " +
                     std::to_string(ranks));
        const ShardPlan plan = make_shard_plan(config_.shard_sizes(), ranks, rank);
        const Weights part = load(ranks, rank, format);
        expect_columns(part.layers[0].mlp_down, whole.layers[0].mlp_down, plan.mlp);
        expect_columns(part.layers[0].attention_out, whole.layers[0].attention_out,
                       {plan.heads.begin * kHeadDim, plan.heads.end * kHeadDim});
        for (const auto vocabulary : {&Weights::embedding, &Weights::lm_head}) {
          for (std::int64_t row = 0; row < plan.vocab.size(); ++row) {
            EXPECT_EQ(row_of((part.*vocabulary).weight, row),
                      row_of((whole.*vocabulary).weight, plan.vocab.begin + row));
          }
        }
      }
    }
  }
}

std::int64_t bytes_held(const LinearWeights& linear) {
  return linear.weight.memory.bytes() + linear.bias.bytes();
}

class WeightBytes : public WeightsTest, public testing::WithParamInterface<WeightFormat> {};

TEST_P(WeightBytes, ProgressEndsAtTheBytesForetold) {
  for (const int rank : {0, 1, 2}) {
    const ShardPlan plan = make_shard_plan(config_.shard_sizes(), 3, rank);
    const std::int64_t foretold = weight_bytes(
        config_, plan, GetParam(), [&](const auto& shape) { return alone_.backend->packed_bytes(shape); });
    std::int64_t last = 0;
    const Checkpoint checkpoint(directory_.path());
    const Weights weights = load_weights(checkpoint, config_, plan, GetParam(), *alone_.backend,
                                         [&](std::int64_t done, std::int64_t total) {
                                           EXPECT_GE(done, last);
                                           EXPECT_EQ(total, foretold);
                                           last = done;
                                         });
    EXPECT_EQ(last, foretold);
    const LayerWeights& layer = weights.layers[0];
    std::int64_t held =
        bytes_held(weights.embedding) + 3 * kHidden * static_cast<std::int64_t>(sizeof(float));
    for (const auto* linear : {&layer.qkv, &layer.attention_out, &layer.mlp_up, &layer.mlp_down}) {
      held += bytes_held(*linear);
    }
    EXPECT_EQ(held, foretold);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, WeightBytes,
                         testing::Values(WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8,
                                         WeightFormat::int4),
                         [](const auto& test) { return std::string(name_of(test.param)); });

// Until nothing more is to be had of it.
void use_up(kernels::Backend& backend) {
  for (std::int64_t bytes = std::int64_t{1} << 40; bytes > 0; bytes /= 2) {
    try {
      backend.allocate(bytes, "a test");
    } catch (const StartupError&) {
    }
  }
}

TEST_F(WeightsTest, MemoryThatIsNotToBeHadIsToldOfWithWhatHelps) {
  kernels::AwkwardBackend backend(*alone_.group[0]);
  use_up(backend);
  const ShardPlan plan = make_shard_plan(config_.shard_sizes(), 1, 0);
  EXPECT_THAT(
      [&] { load_weights(Checkpoint(directory_.path()), config_, plan, WeightFormat::f32, backend, {}); },
      ThrowsMessage<StartupError>("the weights: needs 384 bytes on this rank: more than the arena has left; "
                                  "start more ranks, or choose smaller model.weights"));
  const std::string bytes = std::to_string(activation_bytes(config_, plan, 9));
  EXPECT_THAT([&] { allocate_activations(config_, plan, 9, backend); },
              ThrowsMessage<StartupError>("the activations of 9 tokens: needs " + bytes +
                                          " bytes on this rank: more than the arena has left; lower "
                                          "engine.prefill_chunk or cache.slots, or start more ranks"));
}

TEST_F(WeightsTest, ActivationsLieApartAndAddUp) {
  const ShardPlan plan = make_shard_plan(config_.shard_sizes(), 2, 1);
  Activations a = allocate_activations(config_, plan, 9, *alone_.backend);
  a.set_rows(9);
  EXPECT_EQ(a.max_rows, 9);
  EXPECT_EQ(a.qkv.cols, 3 * 2 * kHeadDim);
  std::vector<kernels::Matrix> matrices = {a.hidden,
                                           a.normed,
                                           a.qkv,
                                           a.window_query,
                                           a.sink_query,
                                           a.attention,
                                           a.partial,
                                           a.mlp_up,
                                           a.mlp,
                                           a.angles.true_cosines,
                                           a.angles.true_sines,
                                           a.angles.cache_cosines,
                                           a.angles.cache_sines};
  for (const kernels::Matrix& matrix : matrices) EXPECT_EQ(matrix.rows, 9);
  matrices.insert(matrices.end(), {a.selected, a.logits});
  std::ranges::sort(matrices, {}, &kernels::Matrix::data);
  kernels::Address next = a.memory.address();
  for (const kernels::Matrix& matrix : matrices) {
    EXPECT_EQ(matrix.data, next);
    next = next + matrix.bytes();
  }
  EXPECT_EQ(a.memory.address() + activation_bytes(config_, plan, 9), next);
}

}  // namespace
}  // namespace sinkstream
