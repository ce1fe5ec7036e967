#include "worker/model/weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "worker/model/local_sizes.h"
#include "worker/model/stored_layer.h"

namespace sinkstream {
namespace {

using kernels::DType;

Range features_of(Range heads, std::int64_t head_dim) {
  return {heads.begin * head_dim, heads.end * head_dim};
}

// Large weights go into huge pages, so that a matrix product misses the TLB less.
std::shared_ptr<void> allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  constexpr std::size_t kHugePage = 2 << 20;
  const std::size_t alignment = bytes < kHugePage ? kAlignment : kHugePage;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr && rounded > 0) {
    throw StartupError(ExitCode::device, "not enough memory for the weights: " + std::to_string(bytes) +
                                             " bytes more are needed on this rank");
  }
  if (alignment == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);
  return {memory, std::free};
}

// Reads slices of a checkpoint into this rank's weights.
class Loader {
 public:
  using Progress = std::function<void(std::int64_t, std::int64_t)>;

  Loader(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard, DType dtype,
         const Progress& progress)
      : checkpoint_(checkpoint),
        dtype_(dtype),
        is_leader_(shard.rank == 0),
        progress_(progress),
        total_bytes_(weight_bytes(config, shard, dtype)) {}

  std::vector<float> vector(const std::string& name, Range range) {
    std::vector<float> values(static_cast<std::size_t>(range.size()));
    const TensorInfo& tensor = checkpoint_.tensors().at(name);
    checkpoint_.read_slice(tensor, range, {0, 1}, DType::f32, values.data());
    report(values.size() * sizeof(float));
    return values;
  }

  NormWeights norm(const StoredNorm& stored, Range range) {
    NormWeights norm{vector(stored.name + ".weight", range), {}};
    if (stored.bias) norm.bias = vector(stored.name + ".bias", range);
    return norm;
  }

  // Some rows of a stored layer.
  struct Part {
    const StoredLinear& stored;
    Range rows;
  };

  // Output features split among ranks: some rows of each part, one below the other.
  LinearWeights column_parallel(const std::vector<Part>& parts) {
    std::int64_t out_features = 0;
    for (const Part& part : parts) out_features += part.rows.size();
    LinearWeights linear = make_linear(out_features, parts.front().stored.in_features);
    std::int64_t first_row = 0;
    for (const auto& [stored, rows] : parts) {
      read(stored, rows, stored.all_columns(), linear, std::exchange(first_row, first_row + rows.size()));
      if (!stored.bias) continue;
      const std::vector<float> bias = vector(stored.name + ".bias", rows);
      linear.bias.insert(linear.bias.end(), bias.begin(), bias.end());
    }
    return linear;
  }

  // Input features split among ranks, whose results are summed: only the leader adds the bias.
  LinearWeights row_parallel(const StoredLinear& stored, Range columns) {
    LinearWeights linear = make_linear(stored.out_features, columns.size());
    read(stored, stored.all_rows(), columns, linear, 0);
    if (stored.bias && is_leader_) linear.bias = vector(stored.name + ".bias", stored.all_rows());
    return linear;
  }

 private:
  LinearWeights make_linear(std::int64_t out_features, std::int64_t in_features) const {
    LinearWeights linear;
    linear.storage = allocate(static_cast<std::size_t>(out_features * in_features) * size_of(dtype_));
    linear.weight = {linear.storage.get(), dtype_, out_features, in_features};
    return linear;
  }

  void read(const StoredLinear& stored, Range rows, Range columns, LinearWeights& linear,
            std::int64_t first_row) {
    const std::size_t row_bytes = static_cast<std::size_t>(columns.size()) * size_of(dtype_);
    const TensorInfo& tensor = checkpoint_.tensors().at(stored.name + ".weight");
    auto* const destination = static_cast<std::byte*>(linear.storage.get());
    checkpoint_.read_slice(tensor, rows, columns, dtype_,
                           destination + static_cast<std::size_t>(first_row) * row_bytes);
    report(static_cast<std::size_t>(rows.size()) * row_bytes);
  }

  void report(std::size_t bytes) {
    done_bytes_ += static_cast<std::int64_t>(bytes);
    if (progress_) progress_(done_bytes_, total_bytes_);
  }

  const Checkpoint& checkpoint_;
  DType dtype_;
  bool is_leader_;
  const Progress& progress_;
  std::int64_t done_bytes_ = 0;
  std::int64_t total_bytes_;
};

// This rank's rows of the stored projections, in the order of LayerWeights::qkv.
std::vector<Loader::Part> qkv_parts(const StoredLayer& stored, const ModelConfig& config,
                                    const ShardPlan& shard) {
  const QkvRows rows = qkv_rows(config.qkv_layout, config.head_sizes(), shard.heads, shard.kv_heads);
  std::vector<Loader::Part> parts;
  for (const Range& range : rows.queries) parts.push_back({stored.query, range});
  for (const Range& range : rows.keys) parts.push_back({stored.key, range});
  for (const Range& range : rows.values) parts.push_back({stored.value, range});
  return parts;
}

LayerWeights load_layer(Loader& loader, const ModelConfig& config, const ShardPlan& shard,
                        std::int64_t index) {
  const StoredLayer stored(config, index);
  const Range queries = features_of(shard.heads, config.head_dim);
  const Range keys = features_of(shard.kv_heads, config.head_dim);
  std::vector<Loader::Part> up_parts;
  if (stored.gate) up_parts.push_back({*stored.gate, shard.mlp});
  up_parts.push_back({stored.up, shard.mlp});

  LayerWeights layer;
  layer.attention_norm = loader.norm(stored.attention_norm, stored.attention_norm.all());
  layer.qkv = loader.column_parallel(qkv_parts(stored, config, shard));
  if (stored.query_norm) layer.query_norm = loader.norm(*stored.query_norm, queries);
  if (stored.key_norm) layer.key_norm = loader.norm(*stored.key_norm, keys);
  layer.attention_out = loader.row_parallel(stored.attention_out, queries);
  if (stored.mlp_norm) layer.mlp_norm = loader.norm(*stored.mlp_norm, stored.mlp_norm->all());
  layer.mlp_up = loader.column_parallel(up_parts);
  layer.mlp_down = loader.row_parallel(stored.down, shard.mlp);
  return layer;
}

// Where a checkpoint holds both names of tied embeddings, they must be one matrix.
void check_tied_head(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard,
                     const kernels::WeightView& embedding) {
  constexpr std::int64_t kRowsAtOnce = 256;
  const std::string name = config.names.lm_head + ".weight";
  if (!checkpoint.contains(name) || !checkpoint.contains(config.names.embedding + ".weight")) return;
  const TensorInfo& tensor = checkpoint.tensors().at(name);
  const std::size_t row_bytes = static_cast<std::size_t>(config.hidden_size) * size_of(embedding.dtype);
  std::vector<std::byte> rows(kRowsAtOnce * row_bytes);
  const auto* loaded = static_cast<const std::byte*>(embedding.data);
  for (std::int64_t row = shard.vocab.begin; row < shard.vocab.end; row += kRowsAtOnce) {
    const Range some = {row, std::min(row + kRowsAtOnce, shard.vocab.end)};
    checkpoint.read_slice(tensor, some, {0, config.hidden_size}, embedding.dtype, rows.data());
    const std::size_t bytes = static_cast<std::size_t>(some.size()) * row_bytes;
    if (std::memcmp(rows.data(), loaded, bytes) != 0) {
      checkpoint.refuse(name,
                        "differs from the embedding, though config.json ties the two; if it was trained "
                        "apart, say \"tie_word_embeddings\": false there");
    }
    loaded += bytes;
  }
}

}  // namespace

std::int64_t weight_bytes(const ModelConfig& config, const ShardPlan& shard, DType dtype) {
  const LocalSizes local(config, shard);
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t matrices_of_layer = hidden * (local.qkv + local.q + local.up + local.mlp);
  const std::int64_t matrices_of_vocab = hidden * local.vocab * (config.tied_embeddings ? 1 : 2);
  const std::int64_t leader_bias = shard.rank == 0 ? hidden : 0;
  const std::int64_t vectors_of_norm = config.norm_bias ? 2 : 1;
  std::int64_t normed_features = config.shared_norm() ? hidden : 2 * hidden;
  if (config.qk_norm) normed_features += local.q + local.kv;
  std::int64_t vectors_of_layer = vectors_of_norm * normed_features;
  if (config.attention_bias) vectors_of_layer += local.qkv + leader_bias;
  if (config.mlp_bias) vectors_of_layer += local.up + leader_bias;
  return (config.num_layers * matrices_of_layer + matrices_of_vocab) *
             static_cast<std::int64_t>(size_of(dtype)) +
         (config.num_layers * vectors_of_layer + vectors_of_norm * hidden) *
             static_cast<std::int64_t>(sizeof(float));
}

Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard,
                     DType dtype, const std::function<void(std::int64_t, std::int64_t)>& progress) {
  check_tensors(checkpoint, config);
  Loader loader(checkpoint, config, shard, dtype, progress);
  const auto vocabulary_matrix = [&](const StoredLinear& stored) {
    return loader.column_parallel({{stored, shard.vocab}});
  };
  Weights weights;
  weights.embedding = vocabulary_matrix(stored_embedding(checkpoint, config));
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    weights.layers.push_back(load_layer(loader, config, shard, index));
  }
  const StoredNorm final_norm = stored_final_norm(config);
  weights.final_norm = loader.norm(final_norm, final_norm.all());
  weights.lm_head = config.tied_embeddings ? weights.embedding : vocabulary_matrix(stored_lm_head(config));
  if (config.tied_embeddings) check_tied_head(checkpoint, config, shard, weights.embedding.weight);
  return weights;
}

}  // namespace sinkstream
