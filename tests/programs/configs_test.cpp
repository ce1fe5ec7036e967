// The configurations that ship: each can be planned, and its model has as many parameters as the published
// one.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "programs/sizing.h"
#include "tests/paths.h"
#include "tests/unpadded_bytes.h"
#include "worker/model/tensors.h"

namespace sinkstream {
namespace {

// Parameters as published (of tied embeddings counted once).
const std::map<std::string, std::int64_t> kParameters = {
    {"demo", 6'951'168},          {"falcon40b", 41'303'293'952},
    {"falcon7b", 6'921'720'704},  {"llama3-70b", 70'553'706'496},
    {"llama70b", 68'976'648'192}, {"llama7b", 6'738'415'616},
    {"llama8b", 8'030'261'248},   {"mistral7b", 7'241'732'096},
    {"mpt30b", 29'957'200'896},   {"mpt7b", 6'649'286'656},
    {"neox20b", 20'554'567'680},  {"pythia12b", 11'846'072'320},
    {"pythia7b", 6'857'302'016},  {"smollm2", 134'515'008},
};

const std::filesystem::path kConfigs = project_dir() / "configs";

class ShippedConfig : public testing::TestWithParam<std::string> {
 protected:
  const Config config_ = load_config((kConfigs / (GetParam() + ".yaml")).string(), {"model.weights=f32"});
  const ModelConfig model_ = read_model_config(config_.model.path);
  const SessionSizing sessions_ = size_sessions(config_, model_);
};

TEST_P(ShippedConfig, HasTheModelsParameters) {
  const RankSizing sizing = size_rank(config_, model_, sessions_, 1, 0);
  const std::int64_t bytes =
      weight_bytes(model_, sizing.shard, kernels::WeightFormat::f32, kernels::unpadded_bytes);
  EXPECT_EQ(bytes / static_cast<std::int64_t>(sizeof(float)), kParameters.at(GetParam()));
  EXPECT_EQ(config_.model.name, GetParam());
}

TEST_P(ShippedConfig, FitsTheTrainedContext) {
  EXPECT_EQ(sessions_.warnings, std::vector<std::string>());
}

TEST_P(ShippedConfig, IsPlannedOnAnyNumberOfRanks) {
  for (const int ranks : {1, 2, 3, 8}) {
    if (ranks > model_.num_heads) continue;
    const std::string text = report_sizing(config_, model_, ranks).text;
    EXPECT_EQ(text.rfind(GetParam() + ": " + model_.architecture, 0), 0u) << text;
    EXPECT_NE(text.find("rank " + std::to_string(ranks - 1) + ": heads "), std::string::npos) << text;
  }
}

std::set<std::string> shipped() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs))
    names.insert(entry.path().stem().string());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig, testing::ValuesIn(shipped()), [](const auto& test) {
  std::string name = test.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace sinkstream
