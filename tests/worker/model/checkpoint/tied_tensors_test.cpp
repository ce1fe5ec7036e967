// Tied embeddings as converters leave them: one tensor under either name or both, in one file or in several
// with an index that may be older than its files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/host_backend.h"
#include "worker/model/tensors.h"

namespace sinkstream {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

// A golden checkpoint with its embeddings tied, of which a converter leaves what `keep_*` say.
class TiedTensors : public testing::TestWithParam<std::string> {
 protected:
  TiedTensors() : golden_(SafetensorsFile::read(golden_directory(GetParam()) / "model.safetensors")) {
    auto config = json::parse(read_file(golden_directory(GetParam()) / "config.json"));
    config["tie_word_embeddings"] = true;
    write_file(path("config.json"), config.dump());
    config_ = read_model_config(directory_.path());
    embedding_ = config_.names.embedding + ".weight";
    lm_head_ = config_.names.lm_head + ".weight";
    matrix_ = golden_.bytes_of(embedding_);
  }

  fs::path path(const std::string& name) const { return directory_.path() / name; }

  // Everything but the tied pair.
  SafetensorsFile others() const {
    SafetensorsFile file;
    for (const auto& [name, entry] : golden_.header.items()) {
      if (name == "__metadata__" || name == embedding_ || name == lm_head_) continue;
      file.add(name, entry.at("dtype"), entry.at("shape"), golden_.bytes_of(name));
    }
    return file;
  }
  void add_matrix(SafetensorsFile& file, const std::string& name, const std::string& bytes) const {
    const auto& entry = golden_.header.at(embedding_);
    file.add(name, entry.at("dtype"), entry.at("shape"), bytes);
  }
  void write_whole(const std::vector<std::string>& names) const {
    SafetensorsFile file = others();
    for (const std::string& name : names) add_matrix(file, name, matrix_);
    write_file(path("model.safetensors"), file.to_bytes());
  }
  // others.safetensors, and each kept name in a file of its own; the index says what `named` does.
  void write_indexed(const std::vector<std::string>& kept,
                     const std::map<std::string, std::string>& named) const {
    json weight_map;
    const SafetensorsFile rest = others();
    write_file(path("others.safetensors"), rest.to_bytes());
    for (const auto& [name, entry] : rest.header.items()) weight_map[name] = "others.safetensors";
    for (const std::string& name : kept) {
      SafetensorsFile file;
      add_matrix(file, name, matrix_);
      write_file(path(file_of(name)), file.to_bytes());
    }
    for (const auto& [name, file] : named) weight_map[name] = file;
    write_file(path("model.safetensors.index.json"), json{{"weight_map", weight_map}}.dump());
  }
  std::string file_of(const std::string& name) const {
    return name == embedding_ ? "embedding.safetensors" : "head.safetensors";
  }

  // Loads every shard of three; each must hold its rows of the one matrix, once.
  void expect_one_matrix() const {
    const Checkpoint checkpoint(directory_.path(), config_.tied_tensors());
    for (int rank = 0; rank < 3; ++rank) {
      const ShardPlan shard = make_shard_plan(config_.shard_sizes(), 3, rank);
      const HostBackendAlone alone;
      const Weights weights =
          load_weights(checkpoint, config_, shard, kernels::WeightFormat::bf16, *alone.backend, {});
      EXPECT_EQ(weights.embedding.weight.memory.address(), weights.lm_head.weight.memory.address());
      const auto hidden = static_cast<std::size_t>(config_.hidden_size);
      for (std::int64_t row = 0; row < shard.vocab.size(); ++row) {
        std::vector<kernels::bfloat16> stored(hidden);
        const std::size_t first =
            static_cast<std::size_t>(shard.vocab.begin + row) * hidden * sizeof(stored[0]);
        std::memcpy(stored.data(), matrix_.data() + first, hidden * sizeof(stored[0]));
        std::vector<float> values;
        for (const kernels::bfloat16 value : stored) values.push_back(to_float(value));
        EXPECT_EQ(row_of(weights.embedding.weight, row), values);
      }
    }
  }
  std::string complaint() const {
    try {
      expect_one_matrix();
      return "(accepted)";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
      return error.what();
    }
  }

  TemporaryDirectory directory_;
  SafetensorsFile golden_;
  ModelConfig config_;
  std::string embedding_, lm_head_;
  std::string matrix_;  // its bytes, bf16
};

TEST_P(TiedTensors, EitherNameOrBothInOneFile) {
  for (const auto& kept : {std::vector{embedding_}, {lm_head_}, {embedding_, lm_head_}}) {
    write_whole(kept);
    expect_one_matrix();
  }
}

TEST_P(TiedTensors, EitherNameOrBothWithAnIndex) {
  for (const auto& kept : {std::vector{embedding_}, {lm_head_}, {embedding_, lm_head_}}) {
    std::map<std::string, std::string> named;
    for (const std::string& name : kept) named[name] = file_of(name);
    write_indexed(kept, named);
    expect_one_matrix();
  }
}

// The converter dropped one of the pair from its files and kept the index as it was.
TEST_P(TiedTensors, AnIndexMayNameTheOneThatIsNotThere) {
  for (const auto& [kept, dropped] : {std::pair(embedding_, lm_head_), {lm_head_, embedding_}}) {
    fs::remove(path(file_of(dropped)));
    for (const std::string& where : {std::string("others.safetensors"), file_of(kept), file_of(dropped)}) {
      write_indexed({kept}, {{kept, file_of(kept)}, {dropped, where}});
      expect_one_matrix();
    }
  }
}

TEST_P(TiedTensors, AnIndexMayLeaveOutTheOther) {
  write_indexed({embedding_, lm_head_}, {{embedding_, file_of(embedding_)}});
  SafetensorsFile both;
  for (const std::string& name : {embedding_, lm_head_}) add_matrix(both, name, matrix_);
  write_file(path(file_of(embedding_)), both.to_bytes());
  expect_one_matrix();
  write_indexed({lm_head_}, {{embedding_, file_of(lm_head_)}});  // named by the other name
  expect_one_matrix();
}

TEST_P(TiedTensors, TwoThatDifferAreRefused) {
  std::string other = matrix_;
  other[other.size() - 1] = static_cast<char>(other[other.size() - 1] ^ 0x40);
  SafetensorsFile file = others();
  add_matrix(file, embedding_, matrix_);
  add_matrix(file, lm_head_, other);
  write_file(path("model.safetensors"), file.to_bytes());
  EXPECT_THAT(complaint(), HasSubstr("\"" + lm_head_ + "\": differs from the embedding"));
}

TEST_P(TiedTensors, NeitherIsMissed) {
  write_whole({});
  EXPECT_THAT(complaint(), HasSubstr("\"" + embedding_ + "\": missing"));
  write_indexed({}, {{embedding_, "embedding.safetensors"}, {lm_head_, "others.safetensors"}});
  fs::remove(path("model.safetensors"));
  EXPECT_THAT(complaint(), HasSubstr("\"" + embedding_ + "\": missing"));
}

TEST_P(TiedTensors, AWrongShapeUnderTheOtherNameIsRefused) {
  SafetensorsFile file = others();
  file.add(lm_head_, "BF16", {config_.vocab_size / 2, 2 * config_.hidden_size}, matrix_);
  write_file(path("model.safetensors"), file.to_bytes());
  EXPECT_THAT(complaint(), HasSubstr("\"" + lm_head_ + "\": has shape"));
}

TEST_P(TiedTensors, ThatConfigDoesNotTieAreExplained) {
  auto config = json::parse(read_file(path("config.json")));
  config["tie_word_embeddings"] = false;
  write_file(path("config.json"), config.dump());
  config_ = read_model_config(directory_.path());
  for (const auto& [kept, dropped] : {std::pair(embedding_, lm_head_), {lm_head_, embedding_}}) {
    write_whole({kept});
    EXPECT_THAT(complaint(), HasSubstr("\"" + dropped + "\": missing"));
    EXPECT_THAT(complaint(), HasSubstr("\"tie_word_embeddings\": true"));
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, TiedTensors, testing::ValuesIn(kGoldenArchitectures),
                         name_of_checkpoint);

}  // namespace
}  // namespace sinkstream
