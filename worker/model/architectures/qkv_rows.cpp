#include "worker/model/architectures/qkv_rows.h"

namespace sinkstream {
namespace {

// Appends rows, joined to the last range where they follow it.
void append(std::vector<Range>& ranges, std::int64_t begin, std::int64_t count) {
  if (!ranges.empty() && ranges.back().end == begin) {
    ranges.back().end += count;
  } else {
    ranges.push_back({begin, begin + count});
  }
}

std::int64_t all_rows(const HeadSizes& sizes) {
  return (sizes.num_heads + 2 * sizes.num_kv_heads) * sizes.head_dim;
}

}  // namespace

QkvRows qkv_rows(QkvLayout layout, const HeadSizes& sizes, Range heads, Range kv_heads) {
  const std::int64_t dim = sizes.head_dim;
  QkvRows rows;
  if (layout == QkvLayout::grouped) {
    const std::int64_t group = sizes.num_heads / sizes.num_kv_heads;
    const auto row_of_group = [&](std::int64_t kv_head) { return kv_head * (group + 2) * dim; };
    for (std::int64_t head = heads.begin; head < heads.end; ++head) {
      append(rows.queries, row_of_group(head / group) + head % group * dim, dim);
    }
    for (std::int64_t kv_head = kv_heads.begin; kv_head < kv_heads.end; ++kv_head) {
      append(rows.keys, row_of_group(kv_head) + group * dim, dim);
      append(rows.values, row_of_group(kv_head) + (group + 1) * dim, dim);
    }
    return rows;
  }
  const bool stacked = layout == QkvLayout::stacked;
  const std::int64_t first_key = stacked ? sizes.num_heads * dim : 0;
  const std::int64_t first_value = stacked ? first_key + sizes.num_kv_heads * dim : 0;
  append(rows.queries, heads.begin * dim, heads.size() * dim);
  append(rows.keys, first_key + kv_heads.begin * dim, kv_heads.size() * dim);
  append(rows.values, first_value + kv_heads.begin * dim, kv_heads.size() * dim);
  return rows;
}

std::int64_t stored_query_rows(QkvLayout layout, const HeadSizes& sizes) {
  return layout == QkvLayout::separate ? sizes.num_heads * sizes.head_dim : all_rows(sizes);
}

std::int64_t stored_key_rows(QkvLayout layout, const HeadSizes& sizes) {
  return layout == QkvLayout::separate ? sizes.num_kv_heads * sizes.head_dim : all_rows(sizes);
}

}  // namespace sinkstream
