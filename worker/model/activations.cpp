#include <array>
#include <string>
#include <utility>

#include "worker/model/local_sizes.h"
#include "worker/model/tensors.h"
#include "worker/model/with_advice.h"

namespace sinkstream {
namespace {

using kernels::Matrix;

// Those with one row for each token of a step.
std::array<Matrix*, 15> matrices_of_step(Activations& a) {
  return {&a.hidden,
          &a.normed,
          &a.qkv,
          &a.window_query,
          &a.sink_query,
          &a.attention,
          &a.partial,
          &a.mlp_partial,
          &a.mlp_up,
          &a.mlp,
          &a.moments,
          &a.angles.true_cosines,
          &a.angles.true_sines,
          &a.angles.cache_cosines,
          &a.angles.cache_sines};
}

void set_columns(const ModelConfig& config, const ShardPlan& shard, Activations& a) {
  const LocalSizes local(config, shard);
  const auto half = static_cast<std::int64_t>(config.inverse_frequencies.size());
  for (Matrix* matrix : {&a.hidden, &a.normed, &a.partial, &a.selected}) matrix->cols = config.hidden_size;
  for (Matrix* matrix : {&a.window_query, &a.sink_query, &a.attention}) matrix->cols = local.q;
  for (Matrix* matrix :
       {&a.angles.true_cosines, &a.angles.true_sines, &a.angles.cache_cosines, &a.angles.cache_sines}) {
    matrix->cols = half;
  }
  a.qkv.cols = local.qkv;
  a.mlp_partial.cols = config.parallel_residual ? config.hidden_size : 0;
  a.mlp_up.cols = local.up;
  a.mlp.cols = local.mlp;
  for (Matrix* matrix : {&a.moments, &a.all_moments}) matrix->cols = config.qk_norm ? 2 : 0;
  a.logits.cols = local.vocab;
}

// The largest sizes of all.
Activations shapes(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows) {
  Activations a;
  a.max_rows = max_rows;
  a.ranks = shard.world_size;
  set_columns(config, shard, a);
  a.set_rows(max_rows);
  for (Matrix* matrix : {&a.selected, &a.logits}) matrix->rows = kOutputsAtOnce;
  return a;
}

std::int64_t bytes_of(Activations& a) {
  std::int64_t bytes = a.all_moments.bytes() + a.selected.bytes() + a.logits.bytes();
  for (const Matrix* matrix : matrices_of_step(a)) bytes += matrix->bytes();
  return bytes;
}

}  // namespace

void Activations::set_rows(std::int64_t rows) {
  for (Matrix* matrix : matrices_of_step(*this)) matrix->rows = rows;
  all_moments.rows = ranks * rows;
}

std::int64_t activation_bytes(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows) {
  Activations a = shapes(config, shard, max_rows);
  return bytes_of(a);
}

Activations allocate_activations(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows,
                                 kernels::Backend& backend) {
  Activations a = shapes(config, shard, max_rows);
  a.memory = with_advice("lower engine.prefill_chunk or cache.slots, or start more ranks", [&] {
    return backend.allocate(bytes_of(a), "the activations of " + std::to_string(max_rows) + " tokens");
  });
  kernels::Address next = a.memory.address();
  const auto place = [&next](Matrix& matrix) { matrix.data = std::exchange(next, next + matrix.bytes()); };
  for (Matrix* matrix : matrices_of_step(a)) place(*matrix);
  for (Matrix* matrix : {&a.all_moments, &a.selected, &a.logits}) place(*matrix);
  return a;
}

}  // namespace sinkstream
