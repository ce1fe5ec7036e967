// Checkpoints made by tools/make_checkpoint.py, which computes their references itself, against the forward
// pass.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <tuple>

#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/reference.h"

namespace sinkstream {
namespace {

const std::filesystem::path kDirectory = MADE_CHECKPOINTS_DIR;

class Made : public testing::TestWithParam<std::tuple<std::string, std::string, int>> {};

TEST_P(Made, EqualsTheReference) {
  const auto [checkpoint, mode, ranks] = GetParam();
  expect_reference(kDirectory / checkpoint, mode, ranks);
}

std::string made_checkpoint_case_name(const testing::TestParamInfo<Made::ParamType>& test) {
  const auto [checkpoint, mode, ranks] = test.param;
  return as_test_name(checkpoint + "_" + mode + "_" + std::to_string(ranks));
}

const auto kModes = testing::Values<std::string>("dense", "window", "sink");

// As deep and with as many heads as a 70B model.
INSTANTIATE_TEST_SUITE_P(Narrow, Made,
                         testing::Combine(testing::Values<std::string>("narrow-80-layers"), kModes,
                                          testing::Values(8)),
                         made_checkpoint_case_name);
// Biases, tied embeddings, Llama-3 rotary scaling, float16, three files; sizes that nothing divides.
INSTANTIATE_TEST_SUITE_P(Odd, Made,
                         testing::Combine(testing::Values<std::string>("odd-sizes"), kModes,
                                          testing::Values(1, 2, 3, 7, 10)),
                         made_checkpoint_case_name);
INSTANTIATE_TEST_SUITE_P(Linear, Made,
                         testing::Combine(testing::Values<std::string>("linear-rope"), kModes,
                                          testing::Values(1, 4)),
                         made_checkpoint_case_name);
INSTANTIATE_TEST_SUITE_P(Families, Made,
                         testing::Combine(testing::Values<std::string>("mpt-every-option", "qwen2",
                                                                       "falcon-rw", "falcon-11b-style",
                                                                       "neox-sequential"),
                                          kModes, testing::Values(1, 2, 3, 4)),
                         made_checkpoint_case_name);

}  // namespace
}  // namespace sinkstream
