#include <utility>

#include "worker/model/local_sizes.h"
#include "worker/model/weights.h"

namespace sinkstream {

using kernels::Matrix;

std::int64_t activation_bytes(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows) {
  return max_rows * Activations(config, shard, 0).columns() * static_cast<std::int64_t>(sizeof(float));
}

Activations::Activations(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows)
    : max_rows_(max_rows) {
  const LocalSizes local(config, shard);
  const auto half = static_cast<std::int64_t>(config.inverse_frequencies.size());
  for (Matrix* matrix : {&hidden, &normed, &partial}) matrix->cols = config.hidden_size;
  for (Matrix* matrix : {&window_query, &sink_query, &attention}) matrix->cols = local.q;
  for (Matrix* matrix : {&true_cosines, &true_sines, &cache_cosines, &cache_sines}) matrix->cols = half;
  qkv.cols = local.qkv;
  key.cols = local.kv;
  gate_up.cols = 2 * local.mlp;
  mlp.cols = local.mlp;

  memory_.resize(static_cast<std::size_t>(max_rows * columns()));
  float* next = memory_.data();
  for (Matrix* matrix : all()) matrix->data = std::exchange(next, next + max_rows * matrix->cols);
}

void Activations::set_rows(std::int64_t rows) {
  for (Matrix* matrix : all()) matrix->rows = rows;
}

std::int64_t Activations::columns() {
  std::int64_t columns = 0;
  for (const Matrix* matrix : all()) columns += matrix->cols;
  return columns;
}

std::array<Matrix*, 14> Activations::all() {
  return {&hidden,  &normed,  &qkv, &window_query, &sink_query, &key,           &attention,
          &partial, &gate_up, &mlp, &true_cosines, &true_sines, &cache_cosines, &cache_sines};
}

}  // namespace sinkstream
