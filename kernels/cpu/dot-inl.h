// Dot products, tiled over rows and columns so that loaded vectors are used many times.
//
// Whatever the tile, every product is summed in one order: lane l of one accumulator adds the products of
// elements l, l + kLanes, l + 2 * kLanes, ..., each with one multiply-add; a last, partial vector is padded
// with zeros; then the lanes are summed. So a dot product's bits depend on its two vectors alone.
#if defined(SINKSTREAM_KERNELS_DOT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SINKSTREAM_KERNELS_DOT_INL_H
#undef SINKSTREAM_KERNELS_DOT_INL_H
#else
#define SINKSTREAM_KERNELS_DOT_INL_H
#endif

#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

// kTileRows * kTileColumns accumulators, one vector per row and one column must fit the registers: 32 with
// AVX-512, else 16.
inline constexpr int kTileRows = kLanes >= 16 ? 6 : 3;
inline constexpr int kTileColumns = 4;

// `count` vectors, the next one `stride` elements on.
template <typename T>
struct VectorList {
  const T* data = nullptr;
  std::int64_t count = 0;
  std::int64_t stride = 0;

  const T* at(std::int64_t index) const { return data + index * stride; }
  VectorList from(std::int64_t index) const { return {at(index), count - index, stride}; }
};

// sums[r][c] += x_r[k ...] * w_c[k ...]
template <int kRows, int kColumns, class Access, typename W>
HWY_INLINE void add_products(Access access, const VectorList<float>& x, const VectorList<W>& w,
                             std::int64_t k, FloatVector (&sums)[kRows][kColumns]) {
  FloatVector rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = access.load(x.at(r) + k);
  for (int c = 0; c < kColumns; ++c) {
    const FloatVector column = access.load(w.at(c) + k);
    for (int r = 0; r < kRows; ++r) sums[r][c] = hn::MulAdd(rows[r], column, sums[r][c]);
  }
}

// The first kRows of x with the first kColumns of w.
template <int kRows, int kColumns, typename W>
HWY_INLINE void dot_tile(const VectorList<float>& x, const VectorList<W>& w, std::int64_t width, float* out,
                         std::int64_t out_stride) {
  FloatVector sums[kRows][kColumns];
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) sums[r][c] = hn::Zero(Floats());
  }
  std::int64_t k = 0;
  for (; k + kLanes <= width; k += kLanes) add_products(Whole(), x, w, k, sums);
  if (k < width) add_products(Partial{width - k}, x, w, k, sums);
  for (int r = 0; r < kRows; ++r) {
    if constexpr (kColumns == 4) {
      store_sums_of_lanes(sums[r], out + r * out_stride);
    } else {
      for (int c = 0; c < kColumns; ++c) out[r * out_stride + c] = sum_of_lanes(sums[r][c]);
    }
  }
}

// All of x with the first kColumns of w: tiles of kRows rows, the rest in smaller ones.
template <int kRows, int kColumns, typename W>
void dot_row_tiles(const VectorList<float>& x, const VectorList<W>& w, std::int64_t width, float* out,
                   std::int64_t out_stride) {
  std::int64_t r = 0;
  for (; r + kRows <= x.count; r += kRows) {
    dot_tile<kRows, kColumns>(x.from(r), w, width, out + r * out_stride, out_stride);
  }
  if constexpr (kRows > 1) {
    if (r < x.count) {
      dot_row_tiles<kRows - 1, kColumns>(x.from(r), w, width, out + r * out_stride, out_stride);
    }
  }
}

// out[r * out_stride + c] = dot(x_r, w_c), both `width` long
template <typename W>
void dot_products(const VectorList<float>& x, const VectorList<W>& w, std::int64_t width, float* out,
                  std::int64_t out_stride) {
  std::int64_t c = 0;
  for (; c + kTileColumns <= w.count; c += kTileColumns) {
    dot_row_tiles<kTileRows, kTileColumns>(x, w.from(c), width, out + c, out_stride);
  }
  for (; c < w.count; ++c) dot_row_tiles<kTileRows, 1>(x, w.from(c), width, out + c, out_stride);
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
