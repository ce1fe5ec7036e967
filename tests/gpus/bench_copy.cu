// What this GPU's memory can do.
#include <cstdio>

#include "tests/gpus/benches.h"
#include "tests/gpus/copy_rate.h"

namespace sinkstream {

int bench_copy(std::span<const std::string>) {
  std::printf("copy of 4 GiB: %.0f GB/s, read and written\n", kernels::cuda::copy_rate());
  return 0;
}

}  // namespace sinkstream
