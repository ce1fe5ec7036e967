#include "kernels/load_cuda.h"

#include <dlfcn.h>

#include <system_error>

#include "base/error.h"
#include "kernels/interface_id.h"

namespace sinkstream::kernels {
namespace {

constexpr const char* kFile = "libsinkstream_cuda.so";
constexpr int kFoldersAbove = 3;  // a test in a build folder stands two deep

[[noreturn]] void refuse(const std::string& reason) {
  throw StartupError(ExitCode::device, reason);
}

const cuda::Module& find_module() {
  std::error_code error;
  for (const auto& file : cuda_module_files(std::filesystem::read_symlink("/proc/self/exe", error))) {
    if (std::filesystem::exists(file, error)) return load_cuda_module(file);
  }
  refuse(std::string("this build has no CUDA backend (") + kFile + "); launch/build --cuda makes one");
}

}  // namespace

std::vector<std::filesystem::path> cuda_module_files(const std::filesystem::path& program) {
  std::filesystem::path folder = program.parent_path();
  std::vector<std::filesystem::path> files = {folder / kFile};
  for (int i = 0; i < kFoldersAbove && folder.has_relative_path(); ++i) {
    folder = folder.parent_path();
    files.push_back(folder / "lib/sinkstream" / kFile);
  }
  return files;
}

const cuda::Module& load_cuda_module(const std::filesystem::path& file) {
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) refuse("the CUDA backend cannot be loaded: " + std::string(dlerror()));
  const auto interface =
      reinterpret_cast<decltype(&sinkstream_cuda_interface)>(dlsym(library, "sinkstream_cuda_interface"));
  const auto module =
      reinterpret_cast<decltype(&sinkstream_cuda_module)>(dlsym(library, "sinkstream_cuda_module"));
  if (interface == nullptr || module == nullptr)
    refuse(file.string() + " is not a CUDA backend of Sinkstream");
  if (const std::string its = interface(); its != kInterfaceId) {
    refuse(file.string() + " is of another build (" + its + ") than this program (" + kInterfaceId +
           "); build or install both together");
  }
  return *module();
}

const cuda::Module& cuda_module() {
  static const cuda::Module& module = find_module();
  return module;
}

const GpuSearch& search_gpus() {
  static const GpuSearch search = cuda_module().find_gpus();
  return search;
}

}  // namespace sinkstream::kernels
