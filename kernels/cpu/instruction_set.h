#pragma once

namespace sinkstream::kernels {

// Name of the instruction set that the cpu backend runs on, e.g. "AVX2" (chosen when the process starts).
const char* instruction_set();

}  // namespace sinkstream::kernels
