#include "worker/model/weights.h"

#include <sys/mman.h>

#include <cstdlib>
#include <utility>

#include "worker/error.h"
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

  // Output features split among ranks: some rows of each part, one below the other.
  LinearWeights column_parallel(const std::vector<std::pair<StoredLinear, Range>>& parts) {
    std::int64_t out_features = 0;
    for (const auto& [part, rows] : parts) out_features += rows.size();
    LinearWeights linear = make_linear(out_features, parts.front().first.in_features);
    std::int64_t first_row = 0;
    for (const auto& [part, rows] : parts) {
      read(part, rows, part.all_columns(), linear, std::exchange(first_row, first_row + rows.size()));
      if (!part.bias) continue;
      const std::vector<float> bias = vector(part.name + ".bias", rows);
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

LayerWeights load_layer(Loader& loader, const ModelConfig& config, const ShardPlan& shard,
                        std::int64_t index) {
  const StoredLayer stored(config, index);
  const Range queries = features_of(shard.heads, config.head_dim);
  const Range keys = features_of(shard.kv_heads, config.head_dim);
  const Range hidden = {0, config.hidden_size};
  return {
      .attention_norm = loader.vector(stored.attention_norm + ".weight", hidden),
      .qkv = loader.column_parallel({{stored.query, queries}, {stored.key, keys}, {stored.value, keys}}),
      .attention_out = loader.row_parallel(stored.attention_out, queries),
      .mlp_norm = loader.vector(stored.mlp_norm + ".weight", hidden),
      .gate_up = loader.column_parallel({{stored.gate, shard.mlp}, {stored.up, shard.mlp}}),
      .mlp_down = loader.row_parallel(stored.down, shard.mlp),
  };
}

}  // namespace

std::int64_t weight_bytes(const ModelConfig& config, const ShardPlan& shard, DType dtype) {
  const LocalSizes local(config, shard);
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t matrices_of_layer = hidden * (local.qkv + local.q + 3 * local.mlp);
  const std::int64_t matrices_of_vocab = hidden * local.vocab * (config.tied_embeddings ? 1 : 2);
  const std::int64_t leader_bias = shard.rank == 0 ? hidden : 0;
  std::int64_t vectors_of_layer = 2 * hidden;
  if (config.attention_bias) vectors_of_layer += local.qkv + leader_bias;
  if (config.mlp_bias) vectors_of_layer += 2 * local.mlp + leader_bias;
  return (config.num_layers * matrices_of_layer + matrices_of_vocab) *
             static_cast<std::int64_t>(size_of(dtype)) +
         (config.num_layers * vectors_of_layer + hidden) * static_cast<std::int64_t>(sizeof(float));
}

Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard,
                     DType dtype, const std::function<void(std::int64_t, std::int64_t)>& progress) {
  check_tensors(checkpoint, config);
  Loader loader(checkpoint, config, shard, dtype, progress);
  const auto vocabulary_matrix = [&](const std::string& name) {
    return loader.column_parallel({{{name, config.vocab_size, config.hidden_size, false}, shard.vocab}});
  };
  Weights weights;
  weights.embedding = vocabulary_matrix(config.names.embedding);
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    weights.layers.push_back(load_layer(loader, config, shard, index));
  }
  weights.final_norm = loader.vector(config.names.final_norm + ".weight", {0, config.hidden_size});
  weights.lm_head = config.tied_embeddings ? weights.embedding : vocabulary_matrix(config.names.lm_head);
  return weights;
}

}  // namespace sinkstream
