// CUDA's vector types, with its sizes and alignments.
#pragma once

struct dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;

  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
};

#define SINKSTREAM_EMULATED_VECTORS(name, element)                               \
  struct alignas(2 * sizeof(element)) name##2 {                                  \
    element x, y;                                                                \
  };                                                                             \
  struct name##3 {                                                               \
    element x, y, z;                                                             \
  };                                                                             \
  struct alignas(4 * sizeof(element) < 16 ? 4 * sizeof(element) : 16) name##4 {  \
    element x, y, z, w;                                                          \
  };                                                                             \
  constexpr name##2 make_##name##2(element x, element y) {                       \
    return {x, y};                                                               \
  }                                                                              \
  constexpr name##3 make_##name##3(element x, element y, element z) {            \
    return {x, y, z};                                                            \
  }                                                                              \
  constexpr name##4 make_##name##4(element x, element y, element z, element w) { \
    return {x, y, z, w};                                                         \
  }

SINKSTREAM_EMULATED_VECTORS(char, signed char)
SINKSTREAM_EMULATED_VECTORS(uchar, unsigned char)
SINKSTREAM_EMULATED_VECTORS(short, short)
SINKSTREAM_EMULATED_VECTORS(ushort, unsigned short)
SINKSTREAM_EMULATED_VECTORS(int, int)
SINKSTREAM_EMULATED_VECTORS(uint, unsigned)
SINKSTREAM_EMULATED_VECTORS(longlong, long long)
SINKSTREAM_EMULATED_VECTORS(ulonglong, unsigned long long)
SINKSTREAM_EMULATED_VECTORS(float, float)
SINKSTREAM_EMULATED_VECTORS(double, double)

#undef SINKSTREAM_EMULATED_VECTORS
