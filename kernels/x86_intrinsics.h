// The compiler's intrinsics for x86, without warnings of its own header.
#pragma once

#ifdef __x86_64__
// GCC takes what that leaves undefined for a mistake. (Clang does not know the second of these.)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
