// In the place of the CUDA toolkit's.
#pragma once

#include "tests/kernels/emulation/cuda_emulation.h"
