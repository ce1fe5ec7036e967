// Head sizes that kernels are compiled for.
#pragma once

#include <type_traits>

namespace sinkstream::kernels::cuda {

// Calls with the size as a constant, 0 for any other.
template <typename Call>
void for_head_dim(int head_dim, const Call& call) {
  switch (head_dim) {
    case 64:
      return call(std::integral_constant<int, 64>());
    case 80:
      return call(std::integral_constant<int, 80>());
    case 96:
      return call(std::integral_constant<int, 96>());
    case 112:
      return call(std::integral_constant<int, 112>());
    case 128:
      return call(std::integral_constant<int, 128>());
    case 256:
      return call(std::integral_constant<int, 256>());
    default:
      return call(std::integral_constant<int, 0>());
  }
}

}  // namespace sinkstream::kernels::cuda
