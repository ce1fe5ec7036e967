#include "kernels/make_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "parallel/communicator/in_process.h"

namespace sinkstream::kernels {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(MakeBackend, MakesEachByItsNameAndEachDescribesItself) {
  const auto group = make_in_process_group(1);
  EXPECT_THAT(backend_names(), testing::ElementsAre("cpu", "reference"));
  for (const std::string& name : backend_names()) {
    const auto backend = make_backend({.device = name, .threads = 1}, *group[0]);
    EXPECT_THAT(backend->description(), testing::StartsWith(name));
    EXPECT_EQ(backend->steps_in_flight(), 1);
    EXPECT_GT(free_device_bytes(name), 0);
    EXPECT_THAT(describe_device(name), testing::StartsWith(name));
  }
  EXPECT_THAT(make_backend({.device = "cpu", .threads = 3}, *group[0])->description(),
              HasSubstr("3 threads"));
}

TEST(MakeBackend, RefusesWhatThereIsNot) {
  const auto group = make_in_process_group(1);
  EXPECT_THAT(
      [&] { make_backend({.device = "abacus"}, *group[0]); },
      ThrowsMessage<std::invalid_argument>(HasSubstr("no device \"abacus\"; there are cpu, reference")));
  EXPECT_THROW(free_device_bytes("abacus"), std::invalid_argument);
  EXPECT_THROW(describe_device("abacus"), std::invalid_argument);
  EXPECT_THROW(make_backend({.device = "cpu", .threads = 0}, *group[0]), std::invalid_argument);
}

}  // namespace
}  // namespace sinkstream::kernels
