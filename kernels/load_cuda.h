// The CUDA backend is a module, libsinkstream_cuda.so, so that the same programs run where there is no GPU.
// It is loaded when it is first asked for, and stays.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kernels/cuda/module.h"

namespace sinkstream::kernels {

// Where the module of a program may stand: beside it, or in lib/sinkstream of a folder above.
std::vector<std::filesystem::path> cuda_module_files(const std::filesystem::path& program);

// Throws StartupError (ExitCode::device): not a library, or of another build.
const cuda::Module& load_cuda_module(const std::filesystem::path& file);

// This program's. Throws the same, and where it was built without one.
const cuda::Module& cuda_module();

// What the module found on this host when it was first asked. Throws as cuda_module() does.
const GpuSearch& search_gpus();

}  // namespace sinkstream::kernels
