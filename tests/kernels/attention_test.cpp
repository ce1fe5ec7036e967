#include <algorithm>
#include <cmath>

#include "tests/kernels/device_cache.h"

namespace sinkstream::kernels {
namespace {

// Sinks and window of sessions, and a rank's heads.
struct Scene {
  CacheType ring_type = CacheType::f32;
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
  return out << name_of(scene.ring_type) << ", head_dim " << scene.head_dim << ", S " << scene.sinks << ", W "
             << scene.window << ", heads " << scene.shard.first_head << " + " << scene.shard.local_heads
             << " in groups of " << scene.shard.group_size << (scene.alibi ? ", ALiBi" : "");
}

constexpr int kCacheSlots = 3;

CacheShape cache_shape(const Scene& scene) {
  return {scene.ring_type, kCacheSlots, scene.shard.local_kv_heads, scene.sinks, scene.window + scene.slack,
          scene.head_dim};
}

// What each position of a slot holds, the same on every backend.
Tensor head_vectors(std::int32_t slot, std::int64_t position, std::int64_t width, bool keys) {
  Random random(static_cast<std::uint32_t>(position * 100 + slot * 2 + keys));
  return random.matrix(1, width);
}

// Feeds a session its sinks, then the tokens that a row at `position` may attend to.
void fill_session(Backend& backend, const Scene& scene, std::int32_t slot, std::int64_t position,
                  const CacheLayerView& cache) {
  const std::int64_t width = static_cast<std::int64_t>(cache.local_kv_heads) * cache.head_dim;
  const std::int64_t first = std::max<std::int64_t>(0, position - scene.window + 1);
  std::vector<std::int64_t> positions;
  for (std::int64_t p = 0; p <= position; ++p) {
    if (p == scene.sinks && p < first) p = first;
    positions.push_back(p);
  }
  const std::int64_t ring = cache.ring_capacity;  // a step takes so many rows at most
  for (std::size_t begin = 0; begin < positions.size();) {
    std::vector<AttentionRow> rows;
    for (; begin < positions.size() && (rows.empty() || positions[begin] - rows.front().position < ring);
         ++begin) {
      rows.push_back(row_at(slot, positions[begin], scene.sinks, scene.window));
    }
    Tensor keys(std::ssize(rows), width), values(std::ssize(rows), width);
    for (std::int64_t r = 0; r < keys.rows; ++r) {
      std::ranges::copy(head_vectors(slot, rows[r].position, width, true).data, keys.row(r).begin());
      std::ranges::copy(head_vectors(slot, rows[r].position, width, false).data, values.row(r).begin());
    }
    store_on(backend, rows, keys, values, cache);
  }
}

Tensor attention_on(Backend& backend, const std::vector<AttentionRow>& rows, const Tensor& window_queries,
                    const Tensor& sink_queries, const CacheLayerView& cache, const HeadShard& shard,
                    float scale, const std::vector<float>& alibi_slopes) {
  const OnDevice<AttentionRow> of_rows(backend, rows);
  const DeviceTensor window(backend, window_queries), sink(backend, sink_queries);
  const DeviceTensor out(backend, window_queries.rows, window_queries.cols);
  const OnDevice<float> slopes(backend, alibi_slopes);
  backend.attention(of_rows, window, sink, cache, shard, scale, slopes, out);
  return out.read();
}

// A row in each slot: at `position`, and some before that in the slack.
std::vector<AttentionRow> rows_at(const Scene& scene, std::int64_t position) {
  std::vector<AttentionRow> rows;
  for (std::int32_t slot = 0; slot < kCacheSlots; ++slot) {
    rows.push_back(row_at(slot, position, scene.sinks, scene.window - slot));
  }
  return rows;
}

// For values within [-1, 1], keys too (so |key| <= sqrt(head_dim)) and scores scaled by 1 / sqrt(head_dim).
double attention_bound(int head_dim, const AttentionRow& row, std::span<const float> query) {
  const double score_error = (sum_error(head_dim) + 2 * kEpsilon) * euclidean(query);
  const std::int64_t tokens = row.sinks_end + row.position - row.window_begin + 1;
  return 2 * score_error + 2 * sum_error(tokens);  // weights relative to their sum; then two sums over tokens
}

class Attention : public OnEveryBackend {
 protected:
  void expect_like_reference(const Scene& scene, std::int64_t position);
};

void Attention::expect_like_reference(const Scene& scene, std::int64_t position) {
  SCOPED_TRACE(testing::Message() << scene << ", position " << position);
  const std::vector<AttentionRow> rows = rows_at(scene, position);
  const std::int64_t width = static_cast<std::int64_t>(scene.shard.local_heads) * scene.head_dim;
  Random random(static_cast<std::uint32_t>(position + scene.head_dim));
  const Tensor window_queries = random.matrix(std::ssize(rows), width);
  const Tensor sink_queries = random.matrix(std::ssize(rows), width);
  const float scale = 1.0f / std::sqrt(static_cast<float>(scene.head_dim));
  const auto attend = [&](Backend& backend) {
    const DeviceCache cache(backend, cache_shape(scene));
    for (std::int32_t slot = 0; slot < kCacheSlots; ++slot)
      fill_session(backend, scene, slot, position, cache.view());
    return attention_on(backend, rows, window_queries, sink_queries, cache.view(), scene.shard, scale,
                        scene.alibi_slopes());
  };
  expect_close(attend(backend()), attend(reference()), [&](std::int64_t r, std::int64_t i) {
    const std::int64_t head = i / scene.head_dim * scene.head_dim;
    return attention_bound(scene.head_dim, rows[r], window_queries.row(r).subspan(head, scene.head_dim)) +
           attention_bound(scene.head_dim, rows[r], sink_queries.row(r).subspan(head, scene.head_dim));
  });
}

TEST_P(Attention, IsLikeTheReferenceForOddHeadsAndPositions) {
  for (const CacheType type : ring_types(GetParam())) {
    for (const int head_dim : {1, 3, 7, 8, 17, 33, 64, 65}) {
      for (const std::int64_t position : {0, 1, 16, 36, 37, 75, 200, 4'000'000}) {
        Scene scene;
        scene.ring_type = type;
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
        scene.ring_type = CacheType::bf16;
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
    for (const CacheType type : ring_types(GetParam())) {
      Scene scene;
      scene.ring_type = type;
      scene.shard = shard;
      expect_like_reference(scene, 100);
    }
  }
}

TEST_P(Attention, IsLikeTheReferenceWithAlibi) {
  for (const CacheType type : ring_types(GetParam())) {
    for (const std::int64_t sinks : {0, 4, 65}) {
      for (const std::int64_t position : {0, 1, 36, 37, 200, 4'000'000}) {
        Scene scene;
        scene.ring_type = type;
        scene.sinks = sinks;
        scene.alibi = true;
        scene.shard = {
            .first_head = 3, .local_heads = 9, .group_size = 4, .first_kv_head = 0, .local_kv_heads = 3};
        expect_like_reference(scene, position);
      }
    }
  }
}

TEST_P(Attention, IsLikeTheReferenceForHeadSizesOfModels) {
  for (const CacheType type : ring_types(GetParam())) {
    for (const int head_dim : {64, 80, 96, 112, 128, 256}) {
      for (const std::int64_t position : {530, 4'000'000}) {
        Scene scene;
        scene.ring_type = type;
        scene.head_dim = head_dim;
        scene.window = 300;
        scene.alibi = head_dim == 80;
        expect_like_reference(scene, position);
      }
    }
  }
}

TEST_P(Attention, ARowsBitsDependOnThatRowAlone) {
  for (const bool alibi : {false, true}) {
    SCOPED_TRACE(alibi);
    Scene scene;
    scene.alibi = alibi;
    scene.ring_type = alibi ? CacheType::f32 : CacheType::bf16;
    scene.head_dim = 17;
    scene.slack = 40;
    scene.shard = {
        .first_head = 3, .local_heads = 9, .group_size = 4, .first_kv_head = 0, .local_kv_heads = 3};
    constexpr std::int64_t kLast = 160;
    // As if each of the last rows had a window of its own: the cache holds what the first of them attends to.
    Scene wider = scene;
    wider.window = scene.window + scene.slack;
    std::vector<AttentionRow> rows;
    for (std::int64_t p = kLast - 20; p <= kLast; ++p) {
      rows.push_back(row_at(1, p, scene.sinks, scene.window));
    }
    const std::int64_t width = static_cast<std::int64_t>(scene.shard.local_heads) * scene.head_dim;
    Random random(31);
    const Tensor window_queries = random.matrix(std::ssize(rows), width);
    const Tensor sink_queries = random.matrix(std::ssize(rows), width);
    Tensor alone(std::ssize(rows), width);
    for (const int threads : thread_counts()) {
      const auto several = on_threads(threads);
      const DeviceCache cache(*several, cache_shape(scene));
      fill_session(*several, wider, 1, kLast, cache.view());
      const OnDevice<AttentionRow> of_rows(*several, rows);
      const DeviceTensor window(*several, window_queries), sink(*several, sink_queries);
      const DeviceTensor out(*several, alone.rows, width);
      const OnDevice<float> slopes(*several, scene.alibi_slopes());
      if (threads == 1) {
        for (std::int64_t r = 0; r < alone.rows; ++r) {
          several->attention(DeviceSpan<const AttentionRow>(of_rows).part(r, 1), window.rows(r, 1),
                             sink.rows(r, 1), cache.view(), scene.shard, 0.25f, slopes, out.rows(r, 1));
        }
        alone = out.read();
      }
      const DeviceTensor together(*several, alone.rows, width);
      several->attention(of_rows, window, sink, cache.view(), scene.shard, 0.25f, slopes, together);
      expect_same_bits(together.read().data, alone.data);
    }
  }
}

// Chunks of prompts between tokens of sessions that decode, in one step.
struct MixedRows {
  static constexpr std::int64_t kWindow = 290;
  static constexpr std::int64_t kSlack = 100;

  explicit MixedRows(std::int64_t sinks) {
    const auto add = [&](std::int32_t slot, std::int64_t position, std::int64_t window) {
      rows.push_back(row_at(slot, position, sinks, window));
    };
    for (std::int64_t p = 540; p < 577; ++p) add(1, p, kWindow);
    add(0, 3, kWindow);
    for (std::int64_t p = 577; p < 580; ++p) add(1, p, kWindow);
    add(2, 999, kWindow);
    for (std::int64_t p = 4; p < 10; ++p) add(0, p, kWindow);
    for (std::int64_t p = 950; p < 967; ++p) add(2, p, p - 940);
  }

  std::vector<AttentionRow> rows;
};

TEST_P(Attention, ARowsBitsDependOnNeitherChunksNorWhatStandsBetween) {
  constexpr std::int64_t kEvery = 3;  // row is computed alone too
  for (const int head_dim : {64, 80, 112, 256}) {
    Scene scene;
    scene.ring_type = head_dim == 64 || head_dim == 256 ? CacheType::f32 : CacheType::bf16;
    scene.head_dim = head_dim;
    scene.sinks = head_dim == 112 ? 40 : 4;
    scene.alibi = head_dim == 80;
    scene.window = MixedRows::kWindow;
    scene.slack = MixedRows::kSlack;
    scene.shard = {
        .first_head = 3, .local_heads = 4, .group_size = 4, .first_kv_head = 0, .local_kv_heads = 2};
    SCOPED_TRACE(testing::Message() << scene);
    const std::vector<AttentionRow> rows = MixedRows(scene.sinks).rows;
    const std::int64_t width = static_cast<std::int64_t>(scene.shard.local_heads) * scene.head_dim;
    Random random(static_cast<std::uint32_t>(head_dim));
    const Tensor window_queries = random.matrix(std::ssize(rows), width);
    const Tensor sink_queries = random.matrix(std::ssize(rows), width);
    const auto attend = [&](Backend& on, bool together) {
      const DeviceCache cache(on, cache_shape(scene));
      Scene wider = scene;
      wider.window += scene.slack;
      for (const auto& [slot, last] : {std::pair(0, 9), std::pair(1, 579), std::pair(2, 999)})
        fill_session(on, wider, slot, last, cache.view());
      const OnDevice<AttentionRow> of_rows(on, rows);
      const DeviceTensor window(on, window_queries), sink(on, sink_queries), out(on, std::ssize(rows), width);
      const OnDevice<float> slopes(on, scene.alibi_slopes());
      const std::int64_t count = together ? std::ssize(rows) : 1;
      for (std::int64_t r = 0; r < std::ssize(rows); r += together ? count : kEvery) {
        on.attention(DeviceSpan<const AttentionRow>(of_rows).part(r, count), window.rows(r, count),
                     sink.rows(r, count), cache.view(), scene.shard, 0.125f, slopes, out.rows(r, count));
      }
      return out.read();
    };
    const Tensor together = attend(backend(), true);
    const Tensor alone = attend(backend(), false);
    for (std::int64_t r = 0; r < alone.rows; r += kEvery) expect_same_bits(alone.row(r), together.row(r));
    expect_close(together, attend(reference(), true), [&](std::int64_t r, std::int64_t i) {
      const std::int64_t head = i / head_dim * head_dim;  // scores aren't divided by sqrt(head_dim) here
      return std::sqrt(head_dim) * 0.125 *
             (attention_bound(head_dim, rows[r], window_queries.row(r).subspan(head, head_dim)) +
              attention_bound(head_dim, rows[r], sink_queries.row(r).subspan(head, head_dim)));
    });
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
  Random random(41);
  const Tensor queries = random.matrix(1, 2 * kHeadDim);
  const auto attend = [&](std::int64_t ring_capacity, const HeadShard& shard) {
    Scene scene;
    scene.head_dim = kHeadDim;
    scene.window = kWindow;
    const DeviceCache cache(backend(), {CacheType::bf16, 1, 1, 4, ring_capacity, kHeadDim});
    fill_session(backend(), scene, 0, kPosition, cache.view());
    Tensor local(1, static_cast<std::int64_t>(shard.local_heads) * kHeadDim);
    std::ranges::copy(queries.row(0).subspan(shard.first_head * kHeadDim, local.cols), local.data.begin());
    return attention_on(backend(), {row_at(0, kPosition, 4, kWindow)}, local, local, cache.view(), shard,
                        0.2f, {})
        .data;
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
  const DeviceCache cache(backend(), {CacheType::f32, 1, 1, 0, 4, 5});
  Random random(51);
  const Tensor value = random.matrix(1, 5);
  store_on(backend(), {row_at(0, 0, 0, 4)}, random.matrix(1, 5), value, cache.view());
  const Tensor query = random.matrix(1, 5);
  const Tensor out =
      attention_on(backend(), {row_at(0, 0, 0, 4)}, query, query, cache.view(), {0, 1, 1, 0, 1}, 1.0f, {});
  expect_same_bits(out.data, value.data);
}

TEST_P(Attention, HugeScoresDoNotOverflow) {
  const DeviceCache cache(backend(), {CacheType::f32, 1, 1, 0, 4, 1});
  Tensor keys(3, 1);
  keys.data = {-1e15f, 1e15f, 1e15f};
  Tensor values(3, 1);
  values.data = {100.0f, 2.0f, 4.0f};
  store_on(backend(), {row_at(0, 0, 0, 4), row_at(0, 1, 0, 4), row_at(0, 2, 0, 4)}, keys, values,
           cache.view());
  const Tensor query(1, 1, 1e15f);
  const Tensor out =
      attention_on(backend(), {row_at(0, 2, 0, 4)}, query, query, cache.view(), {0, 1, 1, 0, 1}, 1.0f, {});
  EXPECT_EQ(out.data[0], 3.0f);
}

INSTANTIATE_ON_EVERY_BACKEND(Attention);

}  // namespace
}  // namespace sinkstream::kernels
