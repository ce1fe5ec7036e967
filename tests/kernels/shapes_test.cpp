// Every operation refuses arguments that don't fit each other, and says which.
#include <gmock/gmock.h>

#include <array>
#include <limits>
#include <stdexcept>

#include "tests/kernels/device_cache.h"

namespace sinkstream::kernels {
namespace {

using testing::HasSubstr;

template <typename Call>
std::string refusal(Call&& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "(not refused)";
}

class Shapes : public OnEveryBackend {
 protected:
  // Work that was not refused is done before its memory goes.
  void TearDown() override {
    wait_for_all(backend());
    OnEveryBackend::TearDown();
  }

  DeviceTensor tensor(std::int64_t rows, std::int64_t cols) {
    return DeviceTensor(backend(), Tensor(rows, cols));
  }
  OnDevice<float> vector(std::size_t size) {
    return OnDevice<float>(backend(), std::vector<float>(size, 0.0f));
  }
};

TEST_P(Shapes, Weights) {
  const auto refused = [&](const WeightShape& shape) {
    return refusal([&] { backend().allocate_weight(shape); });
  };
  EXPECT_EQ(refused({WeightFormat::int8, 2, 3, 31, 31}), "(not refused)");
  EXPECT_THAT(refused({WeightFormat::f32, -1, 3}), HasSubstr("out_features (-1)"));
  EXPECT_THAT(refused({WeightFormat::f32, 2, -3}), HasSubstr("in_features (-3)"));
  EXPECT_THAT(refused({WeightFormat::int4, 2, 3, 32, 0}), HasSubstr("columns_before (32)"));
  EXPECT_THAT(refused({WeightFormat::int4, 2, 3, 0, -1}), HasSubstr("columns_after (-1)"));
  EXPECT_THAT(refused({WeightFormat::bf16, 2, 3, 1, 0}), HasSubstr("columns_before (1)"));

  const Weight weight = backend().allocate_weight({WeightFormat::int8, 4, 3, 5, 2});
  const auto pack_refused = [&](const Tensor& rows, std::int64_t first_row) {
    return refusal([&] { backend().pack(ConstHostMatrix(rows), first_row, weight); });
  };
  EXPECT_EQ(pack_refused(Tensor(4, 10), 0), "(not refused)");
  EXPECT_EQ(pack_refused(Tensor(1, 3), 0), "pack: rows.cols (3) must equal columns to pack (10)");
  EXPECT_THAT(pack_refused(Tensor(5, 10), 0), HasSubstr("rows.rows (5)"));
  EXPECT_THAT(pack_refused(Tensor(2, 10), 3), HasSubstr("first_row (3)"));
  EXPECT_THAT(pack_refused(Tensor(2, 10), -1), HasSubstr("first_row (-1)"));
}

TEST_P(Shapes, TakeLastChosen) {
  const auto states = backend().make_slot_states(2, 5);
  const OnDevice<std::int32_t> slots(backend(), std::vector<std::int32_t>(2)),
      tokens(backend(), std::vector<std::int32_t>(3));
  EXPECT_THAT(refusal([&] { backend().take_last_chosen(slots, *states, tokens); }),
              HasSubstr("slots (2) must equal tokens (3)"));
}

TEST_P(Shapes, Embed) {
  Random random(1);
  const Weight table = WholeWeight(random, WeightFormat::f32, 2, 3).on(backend());
  const OnDevice<std::int32_t> tokens(backend(), std::vector<std::int32_t>{0, 1});
  const auto refused = [&](Matrix out) { return refusal([&] { backend().embed(tokens, table, 0, out); }); };
  EXPECT_THAT(refused(tensor(3, 3)), HasSubstr("out.rows (3)"));
  EXPECT_THAT(refused(tensor(2, 2)), HasSubstr("out.cols (2)"));
}

TEST_P(Shapes, Norm) {
  const DeviceTensor x = tensor(2, 3);
  const auto refused = [&](NormKind kind, std::size_t weight_size, std::size_t bias_size,
                           const DeviceTensor& out) {
    const OnDevice<float> weight = vector(weight_size), bias = vector(bias_size);
    const std::string message = refusal([&] { backend().norm(x, {kind, 1e-5f, weight, bias}, out); });
    wait_for_all(backend());
    return message;
  };
  const auto rms = NormKind::rms, layer = NormKind::layer;
  EXPECT_EQ(refused(rms, 3, 0, tensor(2, 3)), "(not refused)");
  EXPECT_EQ(refused(rms, 4, 0, tensor(2, 3)), "rms_norm: weight size (4) must equal x.cols (3)");
  EXPECT_EQ(refused(rms, 3, 3, tensor(2, 3)), "rms_norm: bias size (3) must equal 0 (0)");
  EXPECT_EQ(refused(rms, 3, 0, tensor(1, 3)), "rms_norm: out.rows (1) must equal x.rows (2)");
  EXPECT_EQ(refused(rms, 3, 0, tensor(2, 2)), "rms_norm: out.cols (2) must equal x.cols (3)");
  EXPECT_EQ(refused(layer, 3, 0, tensor(2, 3)), "(not refused)");
  EXPECT_EQ(refused(layer, 4, 0, tensor(2, 3)), "layer_norm: weight size (4) must equal x.cols (3)");
  EXPECT_EQ(refused(layer, 3, 2, tensor(2, 3)), "layer_norm: bias size (2) must equal x.cols (3)");
  EXPECT_EQ(refused(layer, 3, 3, tensor(1, 3)), "layer_norm: out.rows (1) must equal x.rows (2)");
  EXPECT_EQ(refused(layer, 3, 3, tensor(2, 2)), "layer_norm: out.cols (2) must equal x.cols (3)");
}

TEST_P(Shapes, SpreadNorm) {
  const DeviceTensor x = tensor(2, 5);
  const auto refused = [&](std::int64_t first, std::int64_t columns, const DeviceTensor& moments) {
    return refusal([&] { backend().row_moments(x, first, columns, moments); });
  };
  EXPECT_EQ(refused(2, 3, tensor(2, 2)), "(not refused)");
  EXPECT_EQ(refused(5, 0, tensor(2, 2)), "(not refused)");
  EXPECT_THAT(refused(3, 3, tensor(2, 2)), HasSubstr("first_column (3)"));
  EXPECT_THAT(refused(0, -1, tensor(2, 2)), HasSubstr("columns (-1)"));
  EXPECT_THAT(refused(0, 3, tensor(1, 2)), HasSubstr("moments.rows (1)"));
  EXPECT_THAT(refused(0, 3, tensor(2, 3)), HasSubstr("moments.cols (3)"));

  const OnDevice<std::int64_t> counts(backend(), std::vector<std::int64_t>{3, 4});
  const auto combine_refused = [&](const DeviceTensor& moments, const DeviceTensor& statistics) {
    return refusal([&] { backend().combine_moments(moments, counts, 1e-5f, statistics); });
  };
  EXPECT_EQ(combine_refused(tensor(6, 2), tensor(3, 2)), "(not refused)");
  EXPECT_THAT(combine_refused(tensor(5, 2), tensor(3, 2)), HasSubstr("moments.rows (5)"));
  EXPECT_THAT(combine_refused(tensor(6, 1), tensor(3, 2)), HasSubstr("moments.cols (1)"));
  EXPECT_THAT(combine_refused(tensor(6, 2), tensor(3, 3)), HasSubstr("statistics.cols (3)"));

  const auto columns_refused = [&](std::size_t weight_size, std::size_t bias_size, std::int64_t first,
                                   const DeviceTensor& statistics) {
    const OnDevice<float> weight = vector(weight_size), bias = vector(bias_size);
    return refusal([&] { backend().normalize_columns(statistics, weight, bias, first, x); });
  };
  EXPECT_EQ(columns_refused(3, 3, 2, tensor(2, 2)), "(not refused)");
  EXPECT_THAT(columns_refused(0, 0, 0, tensor(2, 2)), HasSubstr("weight size (0)"));
  EXPECT_THAT(columns_refused(3, 0, 3, tensor(2, 2)), HasSubstr("first_column (3)"));
  EXPECT_THAT(columns_refused(3, 2, 0, tensor(2, 2)), HasSubstr("bias size (2)"));
  EXPECT_THAT(columns_refused(3, 0, 0, tensor(1, 2)), HasSubstr("statistics.rows (1)"));
  EXPECT_THAT(columns_refused(3, 0, 0, tensor(2, 1)), HasSubstr("statistics.cols (1)"));
}

TEST_P(Shapes, Matmul) {
  const DeviceTensor x = tensor(2, 3);
  const auto refused = [&](std::int64_t out_features, std::int64_t in_features, std::size_t bias_size,
                           const DeviceTensor& out) {
    const Weight weight = backend().allocate_weight({WeightFormat::f32, out_features, in_features});
    const OnDevice<float> bias = vector(bias_size);
    return refusal([&] { backend().matmul(x, weight, bias, out); });
  };
  EXPECT_EQ(refused(4, 3, 4, tensor(2, 4)), "(not refused)");
  EXPECT_THAT(refused(3, 4, 0, tensor(2, 3)), HasSubstr("x.cols (3)"));
  EXPECT_THAT(refused(4, 0, 0, tensor(2, 4)), HasSubstr("weight.in_features (0)"));
  EXPECT_THAT(refused(4, 3, 0, tensor(1, 4)), HasSubstr("out.rows (1)"));
  EXPECT_THAT(refused(4, 3, 0, tensor(2, 3)), HasSubstr("out.cols (3)"));
  EXPECT_THAT(refused(4, 3, 3, tensor(2, 4)), HasSubstr("bias size (3)"));
}

TEST_P(Shapes, RotaryAngles) {
  const OnDevice<std::int64_t> positions(backend(), std::vector<std::int64_t>{0, 1});
  const OnDevice<float> frequencies(backend(), std::vector<float>{1.0f, 0.5f, 0.1f});
  const auto refused = [&](const DeviceTensor& cosines, const DeviceTensor& sines) {
    return refusal([&] { backend().rotary_angles(positions, frequencies, cosines, sines); });
  };
  EXPECT_THAT(refused(tensor(1, 3), tensor(2, 3)), HasSubstr("cosines.rows (1)"));
  EXPECT_THAT(refused(tensor(2, 3), tensor(3, 3)), HasSubstr("sines.rows (3)"));
  EXPECT_THAT(refused(tensor(2, 2), tensor(2, 3)), HasSubstr("cosines.cols (2)"));
  EXPECT_THAT(refused(tensor(2, 3), tensor(2, 4)), HasSubstr("sines.cols (4)"));
}

TEST_P(Shapes, Copy) {
  const Buffer memory = backend().allocate(1000, "a test");
  const auto refused = [&](std::int64_t from, std::int64_t to, const Pieces& pieces) {
    return refusal([&] { backend().copy(memory.address() + from, memory.address() + to, pieces); });
  };
  EXPECT_EQ(refused(0, 500, {.bytes = 500}), "(not refused)");
  EXPECT_EQ(refused(500, 0, {.bytes = 20, .count = 25, .stride = 20}), "(not refused)");
  EXPECT_THAT(refused(0, 500, {.bytes = -1}), HasSubstr("bytes (-1)"));
  EXPECT_THAT(refused(0, 500, {.bytes = 1, .count = -1}), HasSubstr("count (-1)"));
  EXPECT_THAT(refused(0, 500, {.bytes = 9, .count = 2, .stride = 8}), HasSubstr("stride (8)"));
  EXPECT_THAT(refused(0, 500, {.bytes = 9, .count = 2, .stride = INT64_MAX / 2 + 1}), HasSubstr("stride ("));
  EXPECT_THAT(refused(0, 499, {.bytes = 500}), HasSubstr("from `from` to `to` (499) must be in [500,"));
  EXPECT_THAT(refused(400, 0, {.bytes = 1, .count = 5, .stride = 100}), HasSubstr("(400) must be in [401,"));
  EXPECT_THAT(refused(7, 7, {.bytes = 1}), HasSubstr("(0) must be in [1,"));
}

TEST_P(Shapes, RotateAndStore) {
  const DeviceCache storage(backend(), {CacheType::f32, 2, 2, 3, 5, 4});
  const OnDevice<AttentionRow> rows(backend(), std::vector<AttentionRow>{{.slot = 1, .position = 9}});
  struct Arguments {
    std::array<std::int64_t, 2> qkv = {1, 28};
    std::array<std::int64_t, 2> true_cosines = {1, 2}, true_sines = {1, 2};
    std::array<std::int64_t, 2> cache_cosines = {1, 2}, cache_sines = {1, 2};
    HeadShard shard = {
        .first_head = 1, .local_heads = 3, .group_size = 2, .first_kv_head = 0, .local_kv_heads = 2};
    std::array<std::int64_t, 2> window_queries = {1, 12}, sink_queries = {1, 12};
  };
  const auto refused_by = [&](const CacheLayerView& cache, const Arguments& a) {
    const auto sized = [&](const std::array<std::int64_t, 2>& size) { return tensor(size[0], size[1]); };
    const DeviceTensor qkv = sized(a.qkv), window = sized(a.window_queries), sink = sized(a.sink_queries);
    const DeviceTensor true_cosines = sized(a.true_cosines), true_sines = sized(a.true_sines);
    const DeviceTensor cache_cosines = sized(a.cache_cosines), cache_sines = sized(a.cache_sines);
    return refusal([&] {
      backend().rotate_and_store(qkv, {true_cosines, true_sines, cache_cosines, cache_sines}, rows, a.shard,
                                 cache, window, sink);
    });
  };
  const auto refused = [&](const Arguments& a) { return refused_by(storage.view(), a); };
  EXPECT_EQ(refused({}), "(not refused)");
  EXPECT_THAT(refused({.qkv = {2, 28}}), HasSubstr("qkv.rows (2)"));
  EXPECT_THAT(refused({.qkv = {1, 27}}), HasSubstr("qkv.cols (27)"));
  EXPECT_THAT(refused({.true_cosines = {1, 3}}), HasSubstr("true_cosines.cols (3)"));
  EXPECT_THAT(refused({.true_cosines = {2, 2}}), HasSubstr("true_cosines.rows (2)"));
  EXPECT_THAT(refused({.true_sines = {1, 1}}), HasSubstr("true_sines.cols (1)"));
  EXPECT_THAT(refused({.cache_cosines = {2, 2}}), HasSubstr("cache_cosines.rows (2)"));
  EXPECT_THAT(refused({.cache_sines = {1, 1}}), HasSubstr("cache_sines.cols (1)"));
  EXPECT_THAT(refused({.shard = {1, 3, 2, 0, 1}}), HasSubstr("shard.local_kv_heads (1)"));
  EXPECT_THAT(refused({.window_queries = {2, 12}}), HasSubstr("window_queries.rows (2)"));
  EXPECT_THAT(refused({.window_queries = {1, 8}}), HasSubstr("window_queries.cols (8)"));
  EXPECT_THAT(refused({.sink_queries = {2, 12}}), HasSubstr("sink_queries.rows (2)"));
  EXPECT_THAT(refused({.sink_queries = {1, 8}}), HasSubstr("sink_queries.cols (8)"));
  CacheLayerView cache = storage.view();
  if (GetParam().is_cuda()) {
    cache.ring_type = CacheType::int8;
    EXPECT_THAT(refused_by(cache, {}), HasSubstr("a ring of int8"));
    cache = storage.view();
  }
  cache.ring_capacity = 0;
  EXPECT_THAT(refused_by(cache, {}), HasSubstr("cache.ring_capacity (0)"));
  cache = storage.view();
  cache.head_dim = 0;
  EXPECT_THAT(refused_by(cache, {}), HasSubstr("cache.head_dim (0)"));
  for (const std::int64_t stride : {0, -64, 100}) {
    cache = storage.view();
    cache.slot_stride_bytes = stride;
    EXPECT_THAT(refused_by(cache, {}), HasSubstr("cache.slot_stride_bytes (" + std::to_string(stride) + ")"));
  }
}

TEST_P(Shapes, Attention) {
  const DeviceCache storage(backend(), {CacheType::f32, 2, 2, 3, 5, 4});
  const std::vector<AttentionRow> row = {{.slot = 1, .position = 9, .window_begin = 5, .sinks_end = 3}};
  const OnDevice<AttentionRow> rows(backend(), row);
  struct Arguments {
    HeadShard shard = {
        .first_head = 1, .local_heads = 3, .group_size = 2, .first_kv_head = 0, .local_kv_heads = 2};
    std::array<std::int64_t, 2> window_queries = {1, 12}, sink_queries = {1, 12}, out = {1, 12};
    std::size_t slopes = 0;
    float scale = 1.0f;
  };
  const auto refused = [&](const Arguments& a) {
    const auto sized = [&](const std::array<std::int64_t, 2>& size) { return tensor(size[0], size[1]); };
    const DeviceTensor window = sized(a.window_queries), sink = sized(a.sink_queries), out = sized(a.out);
    const OnDevice<float> slopes = vector(a.slopes);
    return refusal(
        [&] { backend().attention(rows, window, sink, storage.view(), a.shard, a.scale, slopes, out); });
  };
  EXPECT_EQ(refused({}), "(not refused)");
  EXPECT_THAT(refused({.shard = {1, 3, 2, 0, 1}}), HasSubstr("shard.local_kv_heads (1)"));
  EXPECT_THAT(refused({.shard = {2, 3, 2, 0, 2}}), HasSubstr("the last head's KV head (2)"));
  EXPECT_THAT(refused({.shard = {1, 3, 2, 1, 2}}), HasSubstr("the first head's KV head (-1)"));
  EXPECT_THAT(refused({.shard = {1, 0, 2, 0, 2}}), HasSubstr("shard.local_heads (0)"));
  EXPECT_THAT(refused({.shard = {1, 3, 0, 0, 2}}), HasSubstr("shard.group_size (0)"));
  EXPECT_THAT(refused({.window_queries = {2, 12}}), HasSubstr("window_queries.rows (2)"));
  EXPECT_THAT(refused({.window_queries = {1, 8}}), HasSubstr("window_queries.cols (8)"));
  EXPECT_THAT(refused({.sink_queries = {2, 12}}), HasSubstr("sink_queries.rows (2)"));
  EXPECT_THAT(refused({.sink_queries = {1, 8}}), HasSubstr("sink_queries.cols (8)"));
  EXPECT_THAT(refused({.out = {2, 12}}), HasSubstr("out.rows (2)"));
  EXPECT_THAT(refused({.out = {1, 8}}), HasSubstr("out.cols (8)"));
  EXPECT_EQ(refused({.slopes = 3}), "(not refused)");
  EXPECT_THAT(refused({.slopes = 2}), HasSubstr("alibi_slopes size (2) must equal local_heads (3)"));
  EXPECT_THAT(refused({.scale = 0.0f}), HasSubstr("scale (0.000000) must be positive"));
  EXPECT_THAT(refused({.scale = std::numeric_limits<float>::quiet_NaN()}), HasSubstr("must be positive"));
}

TEST_P(Shapes, Elements) {
  const DeviceTensor gate_up = tensor(2, 6), x = tensor(2, 3);
  const auto silu = [&](const DeviceTensor& out) {
    return refusal([&] { backend().silu_multiply(gate_up, out); });
  };
  EXPECT_THAT(silu(tensor(1, 3)), HasSubstr("gate_up.rows (2)"));
  EXPECT_THAT(silu(tensor(2, 4)), HasSubstr("gate_up.cols (6) must equal 2 * out.cols (8)"));
  for (const auto function : {&Backend::gelu, &Backend::gelu_tanh}) {
    const auto refused = [&](const DeviceTensor& out) {
      return refusal([&] { (backend().*function)(x, out); });
    };
    EXPECT_EQ(refused(tensor(2, 3)), "(not refused)");
    EXPECT_THAT(refused(tensor(1, 3)), HasSubstr("x.rows (2)"));
    EXPECT_THAT(refused(tensor(2, 4)), HasSubstr("x.cols (3)"));
  }
  EXPECT_THAT(refusal([&] { backend().clip(0.0f, x); }), HasSubstr("limit (0.000000) must be positive"));
  EXPECT_THAT(refusal([&] { backend().add(x, tensor(1, 3)); }), HasSubstr("y.rows (2)"));
  EXPECT_THAT(refusal([&] { backend().add(x, tensor(2, 4)); }), HasSubstr("y.cols (3)"));
}

TEST_P(Shapes, BetweenRanks) {
  const DeviceTensor x = tensor(2, 3);
  const OnDevice<float> weight = vector(3), wrong_weight = vector(4);
  const auto refused = [&](const DeviceTensor& partial, const OnDevice<float>& norm_weight,
                           const DeviceTensor& normed) {
    return refusal([&] {
      backend().sum_and_norm(partial, {NormKind::rms, 1e-5f, norm_weight, {}}, x, normed);
    });
  };
  EXPECT_EQ(refused(tensor(2, 3), weight, tensor(2, 3)), "(not refused)");
  EXPECT_THAT(refused(tensor(1, 3), weight, tensor(2, 3)), HasSubstr("partial.rows (1)"));
  EXPECT_THAT(refused(tensor(2, 3), wrong_weight, tensor(2, 3)), HasSubstr("weight size (4)"));
  EXPECT_THAT(refused(tensor(2, 3), weight, tensor(2, 4)), HasSubstr("normed.cols (4)"));
  EXPECT_THAT(refusal([&] { backend().gather_over_ranks(x, tensor(3, 3)); }),
              HasSubstr("all.rows (3) must equal ranks * mine.rows (2)"));
  EXPECT_THAT(refusal([&] { backend().gather_over_ranks(x, tensor(2, 4)); }), HasSubstr("all.cols (4)"));
}

TEST_P(Shapes, Outputs) {
  const DeviceTensor x = tensor(4, 3);
  const OnDevice<std::int32_t> selected(backend(), std::vector<std::int32_t>{1, 2});
  EXPECT_THAT(refusal([&] { backend().select_rows(x, selected, tensor(3, 3)); }), HasSubstr("out.rows (3)"));
  EXPECT_THAT(refusal([&] { backend().select_rows(x, selected, tensor(2, 2)); }), HasSubstr("out.cols (2)"));

  const auto states = backend().make_slot_states(1, 5);
  backend().begin_turn(0, {}, *states);
  const OnDevice<ChoiceTask> tasks(backend(), std::vector<ChoiceTask>(2));
  const auto refused = [&](const DeviceTensor& logits, Range vocab, std::size_t outputs) {
    const OnDevice<Choice> out(backend(), std::vector<Choice>(outputs));
    return refusal([&] { backend().choose(logits, vocab, 5, tasks, *states, out); });
  };
  EXPECT_EQ(refused(tensor(2, 5), {0, 5}, 2), "(not refused)");
  EXPECT_THAT(refused(tensor(3, 5), {0, 5}, 2), HasSubstr("logits.rows (3)"));
  EXPECT_THAT(refused(tensor(2, 4), {0, 5}, 2), HasSubstr("logits.cols (4)"));
  EXPECT_THAT(refused(tensor(2, 5), {1, 6}, 2), HasSubstr("vocab.end (6)"));
  EXPECT_THAT(refused(tensor(2, 5), {4, 3}, 2), HasSubstr("vocab.begin (4)"));
  EXPECT_THAT(refused(tensor(2, 5), {0, 5}, 1), HasSubstr("out (1)"));
}

INSTANTIATE_ON_EVERY_BACKEND(Shapes);

}  // namespace
}  // namespace sinkstream::kernels
