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
  mlp_partial.cols = config.parallel_residual ? config.hidden_size : 0;
  mlp_up.cols = local.up;
  mlp.cols = local.mlp;
  for (Matrix* matrix : {&query_moments, &key_moments}) matrix->cols = config.qk_norm ? 2 : 0;

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

std::array<Matrix*, 17> Activations::all() {
  return {&hidden,      &normed,       &qkv,         &window_query,  &sink_query, &key,
          &attention,   &partial,      &mlp_partial, &mlp_up,        &mlp,        &query_moments,
          &key_moments, &true_cosines, &true_sines,  &cache_cosines, &cache_sines};
}

}  // namespace sinkstream
