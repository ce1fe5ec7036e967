#include <algorithm>
#include <utility>

#include "base/round_up.h"
#include "worker/model/local_sizes.h"
#include "worker/model/read_ahead.h"
#include "worker/model/stored_layer.h"
#include "worker/model/tensors.h"
#include "worker/model/with_advice.h"

namespace sinkstream {
namespace {

using kernels::Backend;
using kernels::DType;
using kernels::Norm;
using kernels::Weight;
using kernels::WeightFormat;
using kernels::WeightShape;

Range features_of(Range heads, std::int64_t head_dim) {
  return {heads.begin * head_dim, heads.end * head_dim};
}

// Of a matrix that are packed at once: so few that little of the file is this process's memory, and so many
// that all threads have their part.
constexpr std::int64_t kElementsAtOnce = 2 << 20;
constexpr std::int64_t kRowsTogether = 64;  // a multiple of what backends pack together

// Some rows of a stored layer.
struct Part {
  const StoredLinear& stored;
  Range rows;
};

// This rank's rows of the stored projections, in the order of LayerWeights::qkv.
std::vector<Part> qkv_parts(const StoredLayer& stored, const ModelConfig& config, const ShardPlan& shard) {
  const QkvRows rows = qkv_rows(config.qkv_layout, config.head_sizes(), shard.heads, shard.kv_heads);
  std::vector<Part> parts;
  for (const Range& range : rows.queries) parts.push_back({stored.query, range});
  for (const Range& range : rows.keys) parts.push_back({stored.key, range});
  for (const Range& range : rows.values) parts.push_back({stored.value, range});
  return parts;
}

// Its rows of the MLP's first layers, in the order of LayerWeights::mlp_up.
std::vector<Part> up_parts(const StoredLayer& stored, const ShardPlan& shard) {
  std::vector<Part> parts;
  if (stored.gate) parts.push_back({*stored.gate, shard.mlp});
  parts.push_back({stored.up, shard.mlp});
  return parts;
}

// All that is read of the matrices, in that order.
std::vector<Slice> matrix_slices(const Checkpoint& checkpoint, const ModelConfig& config,
                                 const ShardPlan& shard, WeightFormat format) {
  std::vector<Slice> slices;
  const auto add = [&](const StoredLinear& stored, Range rows, Range columns) {
    slices.push_back({&checkpoint.tensors().at(stored.name + ".weight"), rows,
                      kernels::columns_to_pack(format, columns, stored.in_features)});
  };
  const auto add_rows = [&](const std::vector<Part>& parts) {
    for (const auto& [stored, rows] : parts) add(stored, rows, stored.all_columns());
  };
  add_rows({{stored_embedding(checkpoint, config), shard.vocab}});
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    const StoredLayer stored(config, index);
    add_rows(qkv_parts(stored, config, shard));
    add(stored.attention_out, stored.attention_out.all_rows(), features_of(shard.heads, config.head_dim));
    add_rows(up_parts(stored, shard));
    add(stored.down, stored.down.all_rows(), shard.mlp);
  }
  if (!config.tied_embeddings) add_rows({{stored_lm_head(config), shard.vocab}});
  return slices;
}

// Reads slices of a checkpoint and packs them into this rank's weights.
class Loader {
 public:
  using Progress = std::function<void(std::int64_t, std::int64_t)>;

  Loader(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard, WeightFormat format,
         Backend& backend, const Progress& progress)
      : checkpoint_(checkpoint),
        ahead_(checkpoint, matrix_slices(checkpoint, config, shard, format)),
        format_(format),
        backend_(backend),
        is_leader_(shard.rank == 0),
        progress_(progress),
        total_bytes_(weight_bytes(config, shard, format,
                                  [&](const WeightShape& shape) { return backend.packed_bytes(shape); })) {}

  Norm norm(const StoredNorm& stored, Range range, const ModelConfig& config) {
    Norm norm{.kind = config.norm, .epsilon = config.norm_epsilon};
    norm.weight = upload(read_vector(stored.name + ".weight", range));
    if (stored.bias) norm.bias = upload(read_vector(stored.name + ".bias", range));
    return norm;
  }

  // Output features split among ranks: some rows of each part, one below the other.
  LinearWeights column_parallel(const std::vector<Part>& parts) { return column_parallel(parts, format_); }

  // The rows of a vocabulary matrix.
  LinearWeights vocabulary(const StoredLinear& stored, Range rows) {
    return column_parallel({{stored, rows}}, vocabulary_format(format_));
  }

  // Input features split among ranks, whose results are summed: only the leader adds the bias.
  LinearWeights row_parallel(const StoredLinear& stored, Range columns) {
    LinearWeights linear = allocate(format_, stored.out_features, columns, stored.in_features);
    pack(stored, stored.all_rows(), columns, 0, linear.weight);
    if (stored.bias && is_leader_)
      linear.bias = upload(read_vector(stored.name + ".bias", stored.all_rows()));
    return linear;
  }

  // `bytes` more are loaded; 0: nothing new, but it goes on.
  void report(std::int64_t bytes) {
    done_bytes_ += bytes;
    if (progress_) progress_(done_bytes_, total_bytes_);
  }

  // The memory of all norms and biases.
  std::vector<kernels::Buffer> take_vectors() { return std::move(vectors_); }

 private:
  LinearWeights column_parallel(const std::vector<Part>& parts, WeightFormat format) {
    std::int64_t out_features = 0;
    for (const Part& part : parts) out_features += part.rows.size();
    const StoredLinear& first = parts.front().stored;
    LinearWeights linear = allocate(format, out_features, first.all_columns(), first.in_features);
    std::int64_t first_row = 0;
    std::vector<float> bias;
    for (const auto& [stored, rows] : parts) {
      pack(stored, rows, stored.all_columns(), std::exchange(first_row, first_row + rows.size()),
           linear.weight);
      if (!stored.bias) continue;
      const std::vector<float> part = read_vector(stored.name + ".bias", rows);
      bias.insert(bias.end(), part.begin(), part.end());
    }
    if (!bias.empty()) linear.bias = upload(bias);
    return linear;
  }

  LinearWeights allocate(WeightFormat format, std::int64_t out_features, Range columns,
                         std::int64_t whole_width) {
    return with_advice("start more ranks, or choose smaller model.weights", [&] {
      return LinearWeights{
          backend_.allocate_weight(kernels::weight_shape(format, out_features, columns, whole_width)), {}};
    });
  }

  // Packs rows of a stored matrix from `first_row` of the weight on, a few at a time, so that little of the
  // file is this process's memory at once.
  void pack(const StoredLinear& stored, Range rows, Range columns, std::int64_t first_row,
            const Weight& weight) {
    const TensorInfo& tensor = checkpoint_.tensors().at(stored.name + ".weight");
    const Range read = kernels::columns_to_pack(weight.shape.format, columns, stored.in_features);
    const std::int64_t rows_at_once =
        round_up(kElementsAtOnce / std::max<std::int64_t>(1, read.size()) + 1, kRowsTogether);
    for (std::int64_t row = rows.begin; row < rows.end; row += rows_at_once) {
      const Range some = {row, std::min(row + rows_at_once, rows.end)};
      const std::int64_t packed = first_row + (row - rows.begin);
      backend_.pack(checkpoint_.stored_rows(tensor, some, read), packed, weight);
      checkpoint_.release(tensor, some, read);
      ahead_.used(some.size(), read.size());
      report(bytes_of_rows(weight, packed + some.size()) - bytes_of_rows(weight, packed));
    }
  }

  // A weight's first rows' share of its bytes.
  static std::int64_t bytes_of_rows(const Weight& weight, std::int64_t rows) {
    return weight.memory.bytes() * rows / weight.shape.out_features;
  }

  std::vector<float> read_vector(const std::string& name, Range range) {
    std::vector<float> values(static_cast<std::size_t>(range.size()));
    checkpoint_.read_slice(checkpoint_.tensors().at(name), range, {0, 1}, DType::f32, values.data());
    return values;
  }

  kernels::Vector upload(const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    vectors_.push_back(backend_.allocate(std::ssize(bytes), "norms and biases"));
    backend_.upload(bytes, vectors_.back().address());
    report(std::ssize(bytes));
    return {vectors_.back().address(), std::ssize(values)};
  }

  const Checkpoint& checkpoint_;
  ReadAhead ahead_;
  WeightFormat format_;
  Backend& backend_;
  bool is_leader_;
  const Progress& progress_;
  std::vector<kernels::Buffer> vectors_;
  std::int64_t done_bytes_ = 0;
  std::int64_t total_bytes_;
};

LayerWeights load_layer(Loader& loader, const ModelConfig& config, const ShardPlan& shard,
                        std::int64_t index) {
  const StoredLayer stored(config, index);
  const Range queries = features_of(shard.heads, config.head_dim);
  const Range keys = features_of(shard.kv_heads, config.head_dim);

  LayerWeights layer;
  layer.attention_norm = loader.norm(stored.attention_norm, stored.attention_norm.all(), config);
  layer.qkv = loader.column_parallel(qkv_parts(stored, config, shard));
  if (stored.query_norm) layer.query_norm = loader.norm(*stored.query_norm, queries, config);
  if (stored.key_norm) layer.key_norm = loader.norm(*stored.key_norm, keys, config);
  layer.attention_out = loader.row_parallel(stored.attention_out, queries);
  if (stored.mlp_norm) layer.mlp_norm = loader.norm(*stored.mlp_norm, stored.mlp_norm->all(), config);
  layer.mlp_up = loader.column_parallel(up_parts(stored, shard));
  layer.mlp_down = loader.row_parallel(stored.down, shard.mlp);
  return layer;
}

// Where a checkpoint holds both names of tied embeddings, they must be one matrix, at the precision that is
// kept of it. `still_at_it` is called between reads: on a cold disk they take long.
void check_tied_head(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard,
                     WeightFormat format, const std::function<void()>& still_at_it) {
  constexpr std::int64_t kRowsAtOnce = 256;
  const std::string embedding = config.names.embedding + ".weight",
                    lm_head = config.names.lm_head + ".weight";
  if (!checkpoint.contains(lm_head) || !checkpoint.contains(embedding)) return;
  const DType dtype = format == WeightFormat::f32 ? DType::f32 : DType::bf16;
  const std::size_t row_bytes = static_cast<std::size_t>(config.hidden_size) * size_of(dtype);
  std::vector<std::byte> one(kRowsAtOnce * row_bytes), other(one.size());
  for (std::int64_t row = shard.vocab.begin; row < shard.vocab.end; row += kRowsAtOnce) {
    const Range some = {row, std::min(row + kRowsAtOnce, shard.vocab.end)};
    const Range columns = {0, config.hidden_size};
    still_at_it();
    checkpoint.read_slice(checkpoint.tensors().at(embedding), some, columns, dtype, one.data());
    checkpoint.read_slice(checkpoint.tensors().at(lm_head), some, columns, dtype, other.data());
    const auto bytes = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(some.size()) * row_bytes);
    if (!std::equal(one.begin(), one.begin() + bytes, other.begin())) {
      checkpoint.refuse(lm_head,
                        "differs from the embedding, though config.json ties the two; if it was trained "
                        "apart, say \"tie_word_embeddings\": false there");
    }
  }
}

}  // namespace

WeightFormat vocabulary_format(WeightFormat format) {
  return format == WeightFormat::int4 ? WeightFormat::int8 : format;
}

std::int64_t weight_bytes(const ModelConfig& config, const ShardPlan& shard, WeightFormat format,
                          const PackedBytes& packed_bytes) {
  const LocalSizes local(config, shard);
  const std::int64_t hidden = config.hidden_size;
  const auto bytes_of = [&](WeightFormat of, std::int64_t out_features, Range columns,
                            std::int64_t whole_width) {
    return packed_bytes(kernels::weight_shape(of, out_features, columns, whole_width));
  };
  const Range queries = features_of(shard.heads, config.head_dim);
  const std::int64_t matrices_of_layer =
      bytes_of(format, local.qkv, {0, hidden}, hidden) +
      bytes_of(format, hidden, queries, config.num_heads * config.head_dim) +
      bytes_of(format, local.up, {0, hidden}, hidden) +
      bytes_of(format, hidden, shard.mlp, config.intermediate_size);
  const std::int64_t matrices_of_vocab =
      (config.tied_embeddings ? 1 : 2) *
      bytes_of(vocabulary_format(format), local.vocab, {0, hidden}, hidden);
  const std::int64_t leader_bias = shard.rank == 0 ? hidden : 0;
  const std::int64_t vectors_of_norm = config.norm_bias ? 2 : 1;
  std::int64_t normed_features = config.shared_norm() ? hidden : 2 * hidden;
  if (config.qk_norm) normed_features += local.q + local.kv;
  std::int64_t vectors_of_layer = vectors_of_norm * normed_features;
  if (config.qkv_bias) vectors_of_layer += local.qkv;
  if (config.attention_out_bias) vectors_of_layer += leader_bias;
  if (config.mlp_bias) vectors_of_layer += local.up + leader_bias;
  return config.num_layers * matrices_of_layer + matrices_of_vocab +
         (config.num_layers * vectors_of_layer + vectors_of_norm * hidden) *
             static_cast<std::int64_t>(sizeof(float));
}

Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard,
                     WeightFormat format, Backend& backend,
                     const std::function<void(std::int64_t, std::int64_t)>& progress) {
  check_tensors(checkpoint, config);
  Loader loader(checkpoint, config, shard, format, backend, progress);
  if (config.tied_embeddings) check_tied_head(checkpoint, config, shard, format, [&] { loader.report(0); });
  Weights weights;
  weights.embedding = loader.vocabulary(stored_embedding(checkpoint, config), shard.vocab);
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    weights.layers.push_back(load_layer(loader, config, shard, index));
  }
  const StoredNorm final_norm = stored_final_norm(config);
  weights.final_norm = loader.norm(final_norm, final_norm.all(), config);
  weights.lm_head =
      config.tied_embeddings ? weights.embedding : loader.vocabulary(stored_lm_head(config), shard.vocab);
  weights.vectors = loader.take_vectors();
  return weights;
}

}  // namespace sinkstream
