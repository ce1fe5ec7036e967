#include "tools/bench/random_model.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <utility>

#include "worker/model/local_sizes.h"

namespace sinkstream {
namespace {

struct Shape {
  std::int64_t layers, hidden, heads, kv_heads, head_dim, mlp, vocab;
};

constexpr std::pair<const char*, Shape> kShapes[] = {{"1.1b", {22, 2048, 32, 4, 64, 5632, 32'000}},
                                                     {"1b", {16, 2048, 32, 8, 64, 8192, 128'256}},
                                                     {"7b", {32, 4096, 32, 32, 128, 11'008, 32'000}},
                                                     {"70b", {80, 8192, 64, 8, 128, 28'672, 32'000}}};

ModelConfig llama(const Shape& shape) {
  ModelConfig config;
  config.architecture = "llama";
  config.num_layers = shape.layers;
  config.hidden_size = shape.hidden;
  config.num_heads = shape.heads;
  config.num_kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.intermediate_size = shape.mlp;
  config.vocab_size = shape.vocab;
  config.trained_context = 4096;
  config.norm_epsilon = 1e-5f;
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  for (std::int64_t i = 0; i < shape.head_dim / 2; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(shape.head_dim);
    config.inverse_frequencies.push_back(static_cast<float>(std::pow(10'000.0, -exponent)));
  }
  config.names.mlp_norm = "present";  // the MLP has a norm of its own
  return config;
}

class Maker {
 public:
  Maker(const ModelConfig& config, kernels::WeightFormat format, kernels::Backend& backend)
      : config_(config), format_(format), backend_(backend) {}

  kernels::Norm norm(std::vector<kernels::Buffer>& vectors) {
    const std::vector<float> ones(static_cast<std::size_t>(config_.hidden_size), 1.0f);
    vectors.push_back(backend_.allocate(std::ssize(ones) * std::int64_t{sizeof(float)}, "a norm"));
    backend_.upload(std::as_bytes(std::span(ones)), vectors.back().address());
    return {.kind = kernels::NormKind::rms,
            .epsilon = config_.norm_epsilon,
            .weight = {vectors.back().address(), std::ssize(ones)}};
  }

  LinearWeights linear(std::int64_t out_features, Range columns, std::int64_t whole_width) {
    return made(format_, out_features, columns, whole_width);
  }
  LinearWeights vocabulary(std::int64_t rows) {
    return made(vocabulary_format(format_), rows, {0, config_.hidden_size}, config_.hidden_size);
  }

 private:
  static constexpr std::int64_t kRowsAtOnce = 256;

  LinearWeights made(kernels::WeightFormat format, std::int64_t out_features, Range columns,
                     std::int64_t whole_width) {
    LinearWeights linear{
        backend_.allocate_weight(kernels::weight_shape(format, out_features, columns, whole_width)), {}};
    const std::int64_t width = linear.weight.shape.packed_columns();
    fill(kRowsAtOnce * width, 1.0f / std::sqrt(static_cast<float>(whole_width)));
    for (std::int64_t row = 0; row < out_features; row += kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, out_features - row);
      backend_.pack(kernels::ConstHostMatrix{values_.data(), rows, width}, row, linear.weight);
    }
    return linear;
  }

  void fill(std::int64_t count, float deviation) {
    std::uniform_real_distribution<float> uniform(-1.7f * deviation, 1.7f * deviation);
    values_.resize(static_cast<std::size_t>(count));
    for (float& value : values_) value = uniform(random_);
  }

  const ModelConfig& config_;
  kernels::WeightFormat format_;
  kernels::Backend& backend_;
  std::minstd_rand random_{1};
  std::vector<float> values_;
};

}  // namespace

ModelConfig shape_of(const std::string& name) {
  for (const auto& [of, shape] : kShapes) {
    if (of == name) return llama(shape);
  }
  throw std::invalid_argument("there is no shape " + name);
}

const std::vector<std::string>& shape_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, shape] : kShapes) all.emplace_back(name);
    return all;
  }();
  return names;
}

Weights random_weights(const ModelConfig& config, const ShardPlan& shard, kernels::WeightFormat format,
                       kernels::Backend& backend) {
  const LocalSizes local(config, shard);
  const std::int64_t hidden = config.hidden_size;
  const Range q = {shard.heads.begin * config.head_dim, shard.heads.end * config.head_dim};
  Maker make(config, format, backend);
  Weights weights;
  weights.embedding = make.vocabulary(local.vocab);
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    LayerWeights layer;
    layer.attention_norm = make.norm(weights.vectors);
    layer.qkv = make.linear(local.qkv, {0, hidden}, hidden);
    layer.attention_out = make.linear(hidden, q, config.num_heads * config.head_dim);
    layer.mlp_norm = make.norm(weights.vectors);
    layer.mlp_up = make.linear(local.up, {0, hidden}, hidden);
    layer.mlp_down = make.linear(hidden, shard.mlp, config.intermediate_size);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = make.norm(weights.vectors);
  weights.lm_head = make.vocabulary(local.vocab);
  return weights;
}

std::int64_t bytes_of_step(const ModelConfig& config, const ShardPlan& shard, kernels::WeightFormat format,
                           const kernels::Backend& backend) {
  const auto packed = [&](const kernels::WeightShape& shape) { return backend.packed_bytes(shape); };
  const Range columns = {0, config.hidden_size};
  const auto embedding = kernels::weight_shape(vocabulary_format(format), LocalSizes(config, shard).vocab,
                                               columns, config.hidden_size);
  return weight_bytes(config, shard, format, packed) - packed(embedding);
}

double operations_of_token(const ModelConfig& config) {
  const std::int64_t heads =
      2 * config.num_heads + 2 * config.num_kv_heads;  // queries, outputs, keys, values
  const std::int64_t weights = config.hidden_size * (heads * config.head_dim + 3 * config.intermediate_size);
  return 2.0 * static_cast<double>(config.num_layers * weights);
}

}  // namespace sinkstream
