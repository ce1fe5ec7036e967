// Every operation refuses arguments that don't fit each other, and says which.
#include <gmock/gmock.h>

#include <limits>
#include <stdexcept>

#include "cache_storage.h"

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

class Shapes : public testing::Test {
 protected:
  ThreadPool threads{1};
  Context context{threads};
};

TEST_F(Shapes, Embed) {
  const std::vector<float> table(6);
  const std::vector<std::int32_t> tokens = {0, 1};
  const auto refused = [&](const WeightView& weight, Matrix out) {
    return refusal([&] { embed(context, tokens, weight, 0, out); });
  };
  EXPECT_THAT(refused({table.data(), DType::f16, 2, 3}, Tensor(2, 3)), HasSubstr("table is f16"));
  EXPECT_THAT(refused({table.data(), DType::f32, 2, 3}, Tensor(3, 3)), HasSubstr("out.rows (3)"));
  EXPECT_THAT(refused({table.data(), DType::f32, 2, 3}, Tensor(2, 2)), HasSubstr("out.cols (2)"));
}

TEST_F(Shapes, RmsNorm) {
  const auto refused = [&](std::size_t weight_size, Matrix out) {
    return refusal([&] { rms_norm(context, Tensor(2, 3), std::vector<float>(weight_size), 1e-5f, out); });
  };
  EXPECT_EQ(refused(4, Tensor(2, 3)), "rms_norm: weight size (4) must equal x.cols (3)");
  EXPECT_EQ(refused(3, Tensor(1, 3)), "rms_norm: out.rows (1) must equal x.rows (2)");
  EXPECT_EQ(refused(3, Tensor(2, 2)), "rms_norm: out.cols (2) must equal x.cols (3)");
}

TEST_F(Shapes, LayerNorm) {
  const auto refused = [&](std::size_t weight_size, std::size_t bias_size, Matrix out) {
    return refusal([&] {
      layer_norm(context, Tensor(2, 3), std::vector<float>(weight_size), std::vector<float>(bias_size), 1e-5f,
                 out);
    });
  };
  EXPECT_EQ(refused(3, 0, Tensor(2, 3)), "(not refused)");
  EXPECT_EQ(refused(4, 0, Tensor(2, 3)), "layer_norm: weight size (4) must equal x.cols (3)");
  EXPECT_EQ(refused(3, 2, Tensor(2, 3)), "layer_norm: bias size (2) must equal x.cols (3)");
  EXPECT_EQ(refused(3, 3, Tensor(1, 3)), "layer_norm: out.rows (1) must equal x.rows (2)");
  EXPECT_EQ(refused(3, 3, Tensor(2, 2)), "layer_norm: out.cols (2) must equal x.cols (3)");
}

TEST_F(Shapes, SpreadNorm) {
  const auto refused = [&](std::int64_t first, std::int64_t columns, Matrix moments) {
    return refusal([&] { row_moments(context, Tensor(2, 5), first, columns, moments); });
  };
  EXPECT_EQ(refused(2, 3, Tensor(2, 2)), "(not refused)");
  EXPECT_THAT(refused(3, 3, Tensor(2, 2)), HasSubstr("first_column (3)"));
  EXPECT_THAT(refused(0, 0, Tensor(2, 2)), HasSubstr("columns (0)"));
  EXPECT_THAT(refused(0, 3, Tensor(1, 2)), HasSubstr("moments.rows (1)"));
  EXPECT_THAT(refused(0, 3, Tensor(2, 3)), HasSubstr("moments.cols (3)"));
  const auto columns_refused = [&](std::size_t weight, std::size_t bias, std::int64_t first,
                                   Tensor statistics) {
    return refusal([&] {
      normalize_columns(context, statistics, std::vector<float>(weight), std::vector<float>(bias), first,
                        Tensor(2, 5));
    });
  };
  EXPECT_EQ(columns_refused(3, 3, 2, Tensor(2, 2)), "(not refused)");
  EXPECT_THAT(columns_refused(0, 0, 0, Tensor(2, 2)), HasSubstr("weight size (0)"));
  EXPECT_THAT(columns_refused(3, 0, 3, Tensor(2, 2)), HasSubstr("first_column (3)"));
  EXPECT_THAT(columns_refused(3, 2, 0, Tensor(2, 2)), HasSubstr("bias size (2)"));
  EXPECT_THAT(columns_refused(3, 0, 0, Tensor(1, 2)), HasSubstr("statistics.rows (1)"));
  EXPECT_THAT(columns_refused(3, 0, 0, Tensor(2, 1)), HasSubstr("statistics.cols (1)"));
}

TEST_F(Shapes, Matmul) {
  const std::vector<float> data(12);
  const auto refused = [&](const WeightView& weight, std::size_t bias_size, Matrix out) {
    return refusal([&] { matmul(context, Tensor(2, 3), weight, std::vector<float>(bias_size), out); });
  };
  EXPECT_THAT(refused({data.data(), DType::f16, 4, 3}, 0, Tensor(2, 4)), HasSubstr("weight is f16"));
  EXPECT_THAT(refused({data.data(), DType::f32, 3, 4}, 0, Tensor(2, 3)), HasSubstr("x.cols (3)"));
  EXPECT_THAT(refused({data.data(), DType::f32, 4, 0}, 0, Tensor(2, 4)), HasSubstr("weight.in_features (0)"));
  EXPECT_THAT(refused({data.data(), DType::f32, 4, 3}, 0, Tensor(1, 4)), HasSubstr("out.rows (1)"));
  EXPECT_THAT(refused({data.data(), DType::f32, 4, 3}, 0, Tensor(2, 3)), HasSubstr("out.cols (3)"));
  EXPECT_THAT(refused({data.data(), DType::f32, 4, 3}, 3, Tensor(2, 4)), HasSubstr("bias size (3)"));
}

TEST_F(Shapes, RotaryAngles) {
  const std::vector<std::int64_t> positions = {0, 1};
  const std::vector<float> frequencies = {1.0f, 0.5f, 0.1f};
  const auto refused = [&](Matrix cosines, Matrix sines) {
    return refusal([&] { rotary_angles(context, positions, frequencies, cosines, sines); });
  };
  EXPECT_THAT(refused(Tensor(1, 3), Tensor(2, 3)), HasSubstr("cosines.rows (1)"));
  EXPECT_THAT(refused(Tensor(2, 3), Tensor(3, 3)), HasSubstr("sines.rows (3)"));
  EXPECT_THAT(refused(Tensor(2, 2), Tensor(2, 3)), HasSubstr("cosines.cols (2)"));
  EXPECT_THAT(refused(Tensor(2, 3), Tensor(2, 4)), HasSubstr("sines.cols (4)"));
}

TEST_F(Shapes, Rotate) {
  struct Arguments {
    std::int64_t first_column = 1;
    int heads = 2;
    int head_dim = 4;
    Tensor cosines = Tensor(3, 2);
    Tensor sines = Tensor(3, 2);
    Tensor out = Tensor(3, 8);
  };
  const auto refused = [&](Arguments a) {
    return refusal([&] {
      rotate(context, Tensor(3, 9), a.first_column, a.heads, a.head_dim, a.cosines, a.sines, a.out);
    });
  };
  EXPECT_EQ(refused({}), "(not refused)");
  EXPECT_THAT(refused({.first_column = 2}), HasSubstr("first_column (2)"));
  EXPECT_THAT(refused({.first_column = -1}), HasSubstr("first_column (-1)"));
  EXPECT_THAT(refused({.heads = -1}), HasSubstr("heads (-1)"));
  EXPECT_THAT(refused({.head_dim = 0}), HasSubstr("head_dim (0)"));
  EXPECT_THAT(refused({.cosines = Tensor(3, 3)}), HasSubstr("cosines.cols (3)"));
  EXPECT_THAT(refused({.cosines = Tensor(2, 2)}), HasSubstr("cosines.rows (2)"));
  EXPECT_THAT(refused({.sines = Tensor(3, 1)}), HasSubstr("sines.cols (1)"));
  EXPECT_THAT(refused({.sines = Tensor(4, 2)}), HasSubstr("sines.rows (4)"));
  EXPECT_THAT(refused({.out = Tensor(2, 8)}), HasSubstr("out.rows (2)"));
  EXPECT_THAT(refused({.out = Tensor(3, 9)}), HasSubstr("out.cols (9)"));
}

TEST_F(Shapes, WriteCache) {
  CacheStorage storage({DType::f32, 2, 2, 3, 5, 4});
  struct Arguments {
    AttentionRow row = {.slot = 1, .position = 9};
    Tensor keys = Tensor(1, 8);
    Tensor values = Tensor(1, 10);
    std::int64_t first_value_column = 2;
  };
  const auto refused_by = [&](const CacheLayerView& cache, const Arguments& a) {
    const std::vector<AttentionRow> rows = {a.row};
    return refusal([&] { write_cache(context, rows, a.keys, a.values, a.first_value_column, cache); });
  };
  const auto refused = [&](const Arguments& a) { return refused_by(storage.view(), a); };
  EXPECT_EQ(refused({}), "(not refused)");
  EXPECT_EQ(refused({.row = {.slot = 2}}), "write_cache: row.slot (2) must be in [0, 1]");
  EXPECT_THAT(refused({.row = {.slot = -1}}), HasSubstr("row.slot (-1)"));
  EXPECT_THAT(refused({.row = {.position = -1}}), HasSubstr("row.position (-1)"));
  EXPECT_THAT(refused({.keys = Tensor(2, 8)}), HasSubstr("keys.rows (2)"));
  EXPECT_THAT(refused({.keys = Tensor(1, 7)}), HasSubstr("keys.cols (7)"));
  EXPECT_THAT(refused({.values = Tensor(2, 10)}), HasSubstr("values.rows (2)"));
  EXPECT_THAT(refused({.first_value_column = 3}), HasSubstr("first_value_column (3)"));
  CacheLayerView cache = storage.view();
  cache.ring_dtype = DType::f16;
  EXPECT_THAT(refused_by(cache, {}), HasSubstr("cache.ring_dtype is f16"));
  cache = storage.view();
  cache.ring_capacity = 0;
  EXPECT_THAT(refused_by(cache, {}), HasSubstr("cache.ring_capacity (0)"));
}

TEST_F(Shapes, Attention) {
  CacheStorage storage({DType::f32, 2, 2, 3, 5, 4});
  struct Arguments {
    AttentionRow row = {.slot = 1, .position = 9, .window_begin = 5, .sinks_end = 3};
    HeadShard shard = {
        .first_head = 1, .local_heads = 3, .group_size = 2, .first_kv_head = 0, .local_kv_heads = 2};
    Tensor window_queries = Tensor(1, 12);
    Tensor sink_queries = Tensor(1, 12);
    Tensor out = Tensor(1, 12);
    float scale = 1.0f;
    std::vector<float> slopes = {};
  };
  const auto refused = [&](Arguments a) {
    const std::vector<AttentionRow> rows = {a.row};
    return refusal([&] {
      attention(context, rows, a.window_queries, a.sink_queries, storage.view(), a.shard, a.scale, a.slopes,
                a.out);
    });
  };
  EXPECT_EQ(refused({}), "(not refused)");
  EXPECT_THAT(refused({.row = {2, 9, 5, 3}}), HasSubstr("row.slot (2)"));
  EXPECT_THAT(refused({.row = {0, -1, 0, 0}}), HasSubstr("row.position (-1)"));
  EXPECT_THAT(refused({.row = {0, 9, 10, 3}}), HasSubstr("row.window_begin (10)"));
  EXPECT_THAT(refused({.row = {0, 9, 4, 3}}), HasSubstr("tokens in the window (6)"));
  EXPECT_THAT(refused({.row = {0, 9, 5, 4}}), HasSubstr("row.sinks_end (4)"));
  EXPECT_THAT(refused({.row = {0, 4, 2, 3}}), HasSubstr("row.sinks_end (3) must be in [0, 2]"));
  EXPECT_THAT(refused({.shard = {1, 3, 2, 0, 1}}), HasSubstr("shard.local_kv_heads (1)"));
  EXPECT_THAT(refused({.shard = {2, 3, 2, 0, 2}}), HasSubstr("the last head's KV head (2)"));
  EXPECT_THAT(refused({.shard = {1, 3, 2, 1, 2}}), HasSubstr("the first head's KV head (-1)"));
  EXPECT_THAT(refused({.shard = {1, 0, 2, 0, 2}}), HasSubstr("shard.local_heads (0)"));
  EXPECT_THAT(refused({.shard = {1, 3, 0, 0, 2}}), HasSubstr("shard.group_size (0)"));
  EXPECT_THAT(refused({.window_queries = Tensor(2, 12)}), HasSubstr("window_queries.rows (2)"));
  EXPECT_THAT(refused({.window_queries = Tensor(1, 8)}), HasSubstr("window_queries.cols (8)"));
  EXPECT_THAT(refused({.sink_queries = Tensor(2, 12)}), HasSubstr("sink_queries.rows (2)"));
  EXPECT_THAT(refused({.sink_queries = Tensor(1, 8)}), HasSubstr("sink_queries.cols (8)"));
  EXPECT_THAT(refused({.out = Tensor(2, 12)}), HasSubstr("out.rows (2)"));
  EXPECT_THAT(refused({.out = Tensor(1, 8)}), HasSubstr("out.cols (8)"));
  EXPECT_EQ(refused({.slopes = {1, 2, 3}}), "(not refused)");
  EXPECT_THAT(refused({.slopes = {1, 2}}), HasSubstr("alibi_slopes size (2) must equal local_heads (3)"));
  EXPECT_THAT(refused({.scale = 0.0f}), HasSubstr("scale (0.000000) must be positive"));
  EXPECT_THAT(refused({.scale = std::numeric_limits<float>::quiet_NaN()}), HasSubstr("must be positive"));
}

TEST_F(Shapes, SiluMultiply) {
  const auto refused = [&](Matrix out) {
    return refusal([&] { silu_multiply(context, Tensor(2, 6), out); });
  };
  EXPECT_THAT(refused(Tensor(1, 3)), HasSubstr("gate_up.rows (2)"));
  EXPECT_THAT(refused(Tensor(2, 4)), HasSubstr("gate_up.cols (6) must equal 2 * out.cols (8)"));
}

TEST_F(Shapes, Gelu) {
  for (const auto function : {gelu, gelu_tanh}) {
    const auto refused = [&](Matrix out) { return refusal([&] { function(context, Tensor(2, 3), out); }); };
    EXPECT_EQ(refused(Tensor(2, 3)), "(not refused)");
    EXPECT_THAT(refused(Tensor(1, 3)), HasSubstr("x.rows (2)"));
    EXPECT_THAT(refused(Tensor(2, 4)), HasSubstr("x.cols (3)"));
  }
}

TEST_F(Shapes, Clip) {
  EXPECT_THAT(refusal([&] { clip(context, 0.0f, Tensor(2, 3)); }),
              HasSubstr("limit (0.000000) must be positive"));
}

TEST_F(Shapes, Add) {
  const auto refused = [&](Matrix x) { return refusal([&] { add(context, Tensor(2, 3), x); }); };
  EXPECT_THAT(refused(Tensor(1, 3)), HasSubstr("y.rows (2)"));
  EXPECT_THAT(refused(Tensor(2, 4)), HasSubstr("y.cols (3)"));
}

}  // namespace
}  // namespace sinkstream::kernels
