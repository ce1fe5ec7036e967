#include <algorithm>
#include <cmath>

#include "cache_storage.h"
#include "kernels/cpu/reference.h"

namespace sinkstream::kernels {
namespace {

class Attention : public OnEveryInstructionSet {};

// Sinks and window of sessions, and a rank's heads.
struct Scene {
  DType ring_dtype = DType::f32;
  int head_dim = 16;
  std::int64_t sinks = 4;
  std::int64_t window = 33;
  std::int64_t slack = 5;
  HeadShard shard = {
      .first_head = 0, .local_heads = 4, .group_size = 2, .first_kv_head = 0, .local_kv_heads = 2};
  bool alibi = false;

  // From one that hardly matters to one that hides all but the nearest.
  std::vector<float> alibi_slopes() const {
    std::vector<float> slopes;
    for (int head = 0; alibi && head < shard.local_heads; ++head)
      slopes.push_back(std::ldexp(1.0f, head - 7));
    return slopes;
  }
};

std::ostream& operator<<(std::ostream& out, const Scene& scene) {
  return out << name_of(scene.ring_dtype) << ", head_dim " << scene.head_dim << ", S " << scene.sinks
             << ", W " << scene.window << ", heads " << scene.shard.first_head << " + "
             << scene.shard.local_heads << " in groups of " << scene.shard.group_size
             << (scene.alibi ? ", ALiBi" : "");
}

constexpr int kSlots = 3;

CacheShape cache_shape(const Scene& scene) {
  return {scene.ring_dtype,           kSlots,        scene.shard.local_kv_heads, scene.sinks,
          scene.window + scene.slack, scene.head_dim};
}

// Feeds a session its sinks, then the tokens that a row at `position` may attend to.
void fill_session(Context& context, const Scene& scene, std::int32_t slot, std::int64_t position,
                  const CacheLayerView& cache, Random& random) {
  const std::int64_t width = static_cast<std::int64_t>(cache.local_kv_heads) * cache.head_dim;
  const std::int64_t first = std::max<std::int64_t>(0, position - scene.window + 1);
  for (std::int64_t p = 0; p <= position; ++p) {
    if (p == scene.sinks && p < first) p = first;
    const std::vector<AttentionRow> row = {row_at(slot, p, scene.sinks, scene.window)};
    write_cache(context, row, random.matrix(1, width), random.matrix(1, width), 0, cache);
  }
}

// A row in each slot: at `position`, and some before that in the slack.
std::vector<AttentionRow> rows_at(const Scene& scene, std::int64_t position) {
  std::vector<AttentionRow> rows;
  for (std::int32_t slot = 0; slot < kSlots; ++slot) {
    rows.push_back(row_at(slot, position, scene.sinks, scene.window - slot));
  }
  return rows;
}

// For values within [-1, 1], keys too (so |key| <= sqrt(head_dim)) and scores scaled by 1 / sqrt(head_dim).
double attention_bound(int head_dim, const AttentionRow& row, std::span<const float> query) {
  const double score_error = (sum_error(head_dim) + 2 * kEpsilon) * norm(query);
  const std::int64_t tokens = row.sinks_end + row.position - row.window_begin + 1;
  return 2 * score_error + 2 * sum_error(tokens);  // weights relative to their sum; then two sums over tokens
}

void expect_like_reference(const Scene& scene, std::int64_t position) {
  SCOPED_TRACE(testing::Message() << scene << ", position " << position);
  ThreadPool threads(2);
  Context context{threads};
  CacheStorage storage(cache_shape(scene));
  const CacheLayerView cache = storage.view();
  Random random(static_cast<std::uint32_t>(position + scene.head_dim));
  for (std::int32_t slot = 0; slot < kSlots; ++slot)
    fill_session(context, scene, slot, position, cache, random);

  const std::vector<AttentionRow> rows = rows_at(scene, position);
  const std::int64_t width = static_cast<std::int64_t>(scene.shard.local_heads) * scene.head_dim;
  const Tensor window_queries = random.matrix(std::ssize(rows), width);
  const Tensor sink_queries = random.matrix(std::ssize(rows), width);
  const float scale = 1.0f / std::sqrt(static_cast<float>(scene.head_dim));
  const std::vector<float> slopes = scene.alibi_slopes();
  Tensor actual(std::ssize(rows), width);
  Tensor expected(std::ssize(rows), width);
  attention(context, rows, window_queries, sink_queries, cache, scene.shard, scale, slopes, actual);
  reference::attention(rows, window_queries, sink_queries, cache, scene.shard, scale, slopes, expected);
  expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
    const std::int64_t head = i / scene.head_dim * scene.head_dim;
    return attention_bound(scene.head_dim, rows[r],
                           ConstMatrix(window_queries).row(r).subspan(head, scene.head_dim)) +
           attention_bound(scene.head_dim, rows[r],
                           ConstMatrix(sink_queries).row(r).subspan(head, scene.head_dim));
  });
}

TEST_P(Attention, IsLikeTheReferenceForOddHeadsAndPositions) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int head_dim : {1, 3, 7, 8, 17, 33, 64, 65}) {
      for (const std::int64_t position : {0, 1, 16, 36, 37, 75, 200, 4'000'000}) {
        Scene scene;
        scene.ring_dtype = dtype;
        scene.head_dim = head_dim;
        expect_like_reference(scene, position);
      }
    }
  }
}

TEST_P(Attention, IsLikeTheReferenceForAnySinksAndWindow) {
  for (const std::int64_t sinks : {0, 1, 7, 65}) {  // 65: more than the window
    for (const std::int64_t window : {3, 7, 33, 257}) {
      for (const std::int64_t position : {2, 6, 70, 1000}) {
        Scene scene;
        scene.ring_dtype = DType::bf16;
        scene.sinks = sinks;
        scene.window = window;
        expect_like_reference(scene, position);
      }
    }
  }
}

TEST_P(Attention, IsLikeTheReferenceForHeadsThatCutGroups) {
  const HeadShard shards[] = {
      {.first_head = 0, .local_heads = 3, .group_size = 1, .first_kv_head = 0, .local_kv_heads = 3},
      {.first_head = 3, .local_heads = 4, .group_size = 4, .first_kv_head = 0, .local_kv_heads = 2},
      {.first_head = 5, .local_heads = 1, .group_size = 8, .first_kv_head = 0, .local_kv_heads = 1},
      {.first_head = 7, .local_heads = 13, .group_size = 5, .first_kv_head = 1, .local_kv_heads = 3},
      {.first_head = 14, .local_heads = 7, .group_size = 7, .first_kv_head = 2, .local_kv_heads = 1},
  };
  for (const HeadShard& shard : shards) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      Scene scene;
      scene.ring_dtype = dtype;
      scene.shard = shard;
      expect_like_reference(scene, 100);
    }
  }
}

TEST_P(Attention, IsLikeTheReferenceWithAlibi) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int64_t sinks : {0, 4, 65}) {
      for (const std::int64_t position : {0, 1, 36, 37, 200, 4'000'000}) {
        Scene scene;
        scene.ring_dtype = dtype;
        scene.sinks = sinks;
        scene.alibi = true;
        scene.shard = {
            .first_head = 3, .local_heads = 9, .group_size = 4, .first_kv_head = 0, .local_kv_heads = 3};
        expect_like_reference(scene, position);
      }
    }
  }
}

TEST_P(Attention, ARowsBitsDependOnThatRowAlone) {
  for (const bool alibi : {false, true}) {
    SCOPED_TRACE(alibi);
    const DType dtype = alibi ? DType::f32 : DType::bf16;
    Scene scene;
    scene.alibi = alibi;
    scene.ring_dtype = dtype;
    scene.head_dim = 17;
    scene.slack = 40;
    scene.shard = {
        .first_head = 3, .local_heads = 9, .group_size = 4, .first_kv_head = 0, .local_kv_heads = 3};
    constexpr std::int64_t kLast = 160;
    ThreadPool one_thread(1);
    Context context{one_thread};
    CacheStorage storage(cache_shape(scene));
    Random random(31);
    fill_session(context, scene, 1, kLast, storage.view(), random);
    for (std::int64_t p = kLast - scene.window - scene.slack + 1; p <= kLast; ++p) {
      const std::vector<AttentionRow> row = {row_at(1, p, scene.sinks, scene.window)};
      const std::int64_t width = 3 * scene.head_dim;
      write_cache(context, row, random.matrix(1, width), random.matrix(1, width), 0, storage.view());
    }

    std::vector<AttentionRow> rows;
    for (std::int64_t p = kLast - 20; p <= kLast; ++p)
      rows.push_back(row_at(1, p, scene.sinks, scene.window));
    const std::int64_t count = std::ssize(rows);
    const std::int64_t width = static_cast<std::int64_t>(scene.shard.local_heads) * scene.head_dim;
    const Tensor window_queries = random.matrix(count, width);
    const Tensor sink_queries = random.matrix(count, width);
    const std::vector<float> slopes = scene.alibi_slopes();
    Tensor alone(count, width);
    for (std::int64_t r = 0; r < count; ++r) {
      attention(context, std::span(rows).subspan(r, 1), {ConstMatrix(window_queries).row(r).data(), 1, width},
                {ConstMatrix(sink_queries).row(r).data(), 1, width}, storage.view(), scene.shard, 0.25f,
                slopes, {alone.row(r).data(), 1, width});
    }
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      Context several{pool};
      Tensor together(count, width);
      attention(several, rows, window_queries, sink_queries, storage.view(), scene.shard, 0.25f, slopes,
                together);
      expect_same_bits(together.data, alone.data);
    }
  }
}

TEST_P(Attention, AHeadsBitsDependOnNeitherItsGroupMatesNorTheRingsStart) {
  // The same tokens at ring slots that wrap elsewhere, and the second head of a group on a rank of its own.
  constexpr std::int64_t kWindow = 33;
  constexpr int kHeadDim = 24;
  constexpr std::int64_t kPosition = 100;
  const HeadShard both{
      .first_head = 0, .local_heads = 2, .group_size = 2, .first_kv_head = 0, .local_kv_heads = 1};
  const HeadShard second{
      .first_head = 1, .local_heads = 1, .group_size = 2, .first_kv_head = 0, .local_kv_heads = 1};
  ThreadPool threads(1);
  Context context{threads};
  const auto attend = [&](std::int64_t ring_capacity, const HeadShard& shard) {
    CacheStorage storage({DType::bf16, 1, 1, 4, ring_capacity, kHeadDim});
    Random random(41);
    for (std::int64_t p = 0; p <= kPosition; ++p) {
      const std::vector<AttentionRow> row = {row_at(0, p, 4, kWindow)};
      write_cache(context, row, random.matrix(1, kHeadDim), random.matrix(1, kHeadDim), 0, storage.view());
    }
    const Tensor queries = random.matrix(1, 2 * kHeadDim);
    const std::int64_t width = static_cast<std::int64_t>(shard.local_heads) * kHeadDim;
    const ConstMatrix local{queries.data.data() + shard.first_head * kHeadDim, 1, width};
    Tensor out(1, width);
    attention(context, std::vector<AttentionRow>{row_at(0, kPosition, 4, kWindow)}, local, local,
              storage.view(), shard, 0.2f, {}, out);
    return out.data;
  };
  const std::vector<float> whole = attend(kWindow, both);
  const auto second_head = std::span(whole).subspan(kHeadDim);
  for (const std::int64_t ring_capacity : {kWindow, kWindow + 1, kWindow + 7, std::int64_t{128}}) {
    SCOPED_TRACE(ring_capacity);
    expect_same_bits(attend(ring_capacity, both), whole);
    expect_same_bits(attend(ring_capacity, second), second_head);
  }
}

TEST_P(Attention, ATokenAloneAttendsToItself) {
  CacheStorage storage({DType::f32, 1, 1, 0, 4, 5});
  ThreadPool threads(1);
  Context context{threads};
  const std::vector<AttentionRow> rows = {row_at(0, 0, 0, 4)};
  Random random(51);
  const Tensor value = random.matrix(1, 5);
  write_cache(context, rows, random.matrix(1, 5), value, 0, storage.view());
  Tensor out(1, 5);
  const Tensor query = random.matrix(1, 5);
  attention(context, rows, query, query, storage.view(), {0, 1, 1, 0, 1}, 1.0f, {}, out);
  expect_same_bits(out.data, value.data);
}

TEST_P(Attention, HugeScoresDoNotOverflow) {
  CacheStorage storage({DType::f32, 1, 1, 0, 4, 1});
  ThreadPool threads(1);
  Context context{threads};
  const std::vector<AttentionRow> rows = {row_at(0, 0, 0, 4), row_at(0, 1, 0, 4), row_at(0, 2, 0, 4)};
  Tensor keys(3, 1);
  keys.data = {-1e15f, 1e15f, 1e15f};
  Tensor values(3, 1);
  values.data = {100.0f, 2.0f, 4.0f};
  write_cache(context, rows, keys, values, 0, storage.view());
  Tensor query(1, 1);
  query.data = {1e15f};
  Tensor out(1, 1);
  attention(context, std::span(rows).last(1), query, query, storage.view(), {0, 1, 1, 0, 1}, 1.0f, {}, out);
  EXPECT_EQ(out.data[0], 3.0f);
}

INSTANTIATE_ON_EVERY_INSTRUCTION_SET(Attention);

}  // namespace
}  // namespace sinkstream::kernels
