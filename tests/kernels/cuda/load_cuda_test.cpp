#include "kernels/load_cuda.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "base/error.h"
#include "tests/temporary_directory.h"

namespace sinkstream::kernels {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(CudaModule, StandsBesideTheProgramOrInALibFolderAboveIt) {
  EXPECT_THAT(
      cuda_module_files("/opt/sink/bin/stream-worker"),
      ElementsAre("/opt/sink/bin/libsinkstream_cuda.so", "/opt/sink/lib/sinkstream/libsinkstream_cuda.so",
                  "/opt/lib/sinkstream/libsinkstream_cuda.so", "/lib/sinkstream/libsinkstream_cuda.so"));
  EXPECT_THAT(cuda_module_files("/bin/p"),
              ElementsAre("/bin/libsinkstream_cuda.so", "/lib/sinkstream/libsinkstream_cuda.so"));
}

TEST(CudaModule, AFileThatIsNoneIsRefused) {
  const TemporaryDirectory directory;
  const auto file = directory.write("libsinkstream_cuda.so", "not a library");
  EXPECT_THAT([&] { load_cuda_module(file); }, ThrowsMessage<StartupError>(testing::AllOf(
                                                   HasSubstr("cannot be loaded"), HasSubstr(file.string()))));
  EXPECT_THAT([&] { load_cuda_module("libm.so.6"); },
              ThrowsMessage<StartupError>(HasSubstr("is not a CUDA backend")));
}

TEST(CudaModule, ItsErrorsAreCaughtByPrograms) {
  std::optional<cuda::Module> module;
  try {
    module = cuda_module();
  } catch (const StartupError& error) {
    GTEST_SKIP() << error.what();
  }
  if (!search_gpus().gpus.empty()) GTEST_SKIP() << "there is a GPU";
  EXPECT_THAT([&] { module->free_bytes(0); },
              ThrowsMessage<StartupError>(HasSubstr("GPU 0 does not say what memory is free: ")));
}

}  // namespace
}  // namespace sinkstream::kernels
