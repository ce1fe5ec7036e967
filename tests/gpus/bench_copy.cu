// What this GPU's memory can do.
#include <cstdio>

#include "tests/gpus/copy_rate.h"

int main() {
  std::printf("copy of 4 GiB: %.0f GB/s, read and written\n", sinkstream::kernels::cuda::copy_rate());
  return 0;
}
