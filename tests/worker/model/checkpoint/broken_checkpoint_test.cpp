// Checkpoints that are broken, each in one way: the complaint names the file and the tensor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>

#include "base/error.h"
#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/host_backend.h"
#include "worker/model/architectures/model_config.h"
#include "worker/model/checkpoint/checkpoint.h"
#include "worker/model/stored_layer.h"
#include "worker/model/tensors.h"

namespace sinkstream {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

struct Breakage {
  std::string name;
  std::function<void(const fs::path&)> breaks;  // given a copy of the golden checkpoint
  std::vector<std::string> complaint;           // what it must contain

  friend void PrintTo(const Breakage& breakage, std::ostream* out) { *out << breakage.name; }
};

const std::string kFile = "model.safetensors: ";
const std::string kIndex = "model.safetensors.index.json: ";
const std::string kUp = "model.layers.1.mlp.up_proj.weight";

Breakage file_content(const std::string& name, const std::string& content, const std::string& reason) {
  return {name,
          [content](const fs::path& directory) { write_file(directory / "model.safetensors", content); },
          {kFile, reason}};
}

// The golden file with something changed.
Breakage changed_file(const std::string& name, const std::function<void(SafetensorsFile&)>& change,
                      const std::vector<std::string>& complaint) {
  return {name,
          [change](const fs::path& directory) {
            auto file = SafetensorsFile::read(directory / "model.safetensors");
            change(file);
            write_file(directory / "model.safetensors", file.to_bytes());
          },
          complaint};
}

// A file of the one tensor "a", of 16 data bytes.
Breakage one_tensor(const std::string& name, const std::string& entry, const std::string& reason) {
  return file_content(
      name, join_safetensors(std::string("{\"a\": ").append(entry).append("}"), std::string(16, 'x')),
      reason);
}

// The golden checkpoint in two files with something changed in the index.
Breakage changed_index(const std::string& name, const std::function<void(nlohmann::json&)>& change,
                       const std::vector<std::string>& complaint) {
  return {name,
          [change](const fs::path& directory) {
            write_sharded(golden_directory(), directory / "sharded", 2);
            fs::remove(directory / "model.safetensors");
            for (const auto& entry : fs::directory_iterator(directory / "sharded")) {
              if (entry.path().filename() != "config.json")
                fs::copy(entry.path(), directory / entry.path().filename());
            }
            const auto path = directory / "model.safetensors.index.json";
            auto index = nlohmann::json::parse(read_file(path));
            change(index);
            write_file(path, index.dump());
          },
          complaint};
}

// The golden checkpoint with config.json changed, so that the tensors do not fit it.
Breakage changed_config(const std::string& name, const nlohmann::json& changes,
                        const std::vector<std::string>& complaint) {
  return {name,
          [changes](const fs::path& directory) {
            auto config = nlohmann::json::parse(read_file(directory / "config.json"));
            config.update(changes);
            write_file(directory / "config.json", config.dump());
          },
          complaint};
}

// An empty header whose length has one byte changed.
std::string with_length_byte(std::size_t index, char value) {
  std::string content = join_safetensors("{}", "");
  content[index] = value;
  return content;
}

std::vector<Breakage> file_breakages() {
  return {
      file_content("Empty", "", "is empty, as an interrupted download"),
      file_content("GitLfsPointer",
                   "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 4976698672\n",
                   "a Git LFS pointer, not the file it stands for"),
      file_content("WebPage", "<!DOCTYPE html><html><title>Sign in</title></html>", "a web page"),
      file_content("ErrorText", "Entry not found", "a server's answer, not the file: \"Entry not found\""),
      file_content("ZerosOfAnInterruptedDownload", std::string(100'000, '\0'), "interrupted download"),
      file_content("GgufUnderAnotherName", "GGUF" + std::string(4, '\3'), "a GGUF file"),
      file_content("SevenBytes", "1234567", "shorter than 8 bytes"),
      file_content("HeaderLongerThanFile", with_length_byte(0, 9), "does not fit the file"),
      file_content("HeaderOfExabytes", with_length_byte(7, 1), "this is no safetensors file"),
      file_content("HeaderNotAnObject", join_safetensors("[1]", ""), "does not begin with '{'"),
      file_content("HeaderBeginsWithSpace", join_safetensors(" {}", ""), "does not begin with '{'"),
      file_content("HeaderNotJson", join_safetensors("{\"a\": nonsense}", ""), "not valid JSON"),
      file_content("HeaderCutOff", join_safetensors("{\"a\": {\"dtype\"", ""), "not valid JSON"),
      file_content("HeaderNotUtf8", join_safetensors("{\"\xff\xfe\": 1}", ""), "not valid JSON"),
      file_content("HeaderNestedDeeply", join_safetensors(std::string("{\"a\": ").append(1 << 20, '['), ""),
                   "too deeply"),
      file_content("MetadataNotTexts", join_safetensors("{\"__metadata__\": {\"a\": 1}}", ""),
                   "__metadata__"),
      file_content("DuplicateTensor",
                   join_safetensors(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                                        "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
                                    "12345678"),
                   "\"a\" stands there twice"),
      one_tensor("EntryNotAnObject", "[]", "\"a\": its entry is not an object"),
      one_tensor("NoShape", R"({"dtype": "F32", "data_offsets": [0, 16]})", "\"a\": shape is missing"),
      one_tensor("NoOffsets", R"({"dtype": "F32", "shape": [4]})", "\"a\": data_offsets is missing"),
      one_tensor("DuplicateField",
                 R"({"dtype": "F32", "dtype": "F32", "shape": [4], "data_offsets": [0, 16]})",
                 "\"dtype\" stands there twice"),
      one_tensor("UnknownType", R"({"dtype": "F31", "shape": [4], "data_offsets": [0, 16]})",
                 "unknown dtype \"F31\""),
      one_tensor("TypeNotText", R"({"dtype": 32, "shape": [4], "data_offsets": [0, 16]})",
                 "dtype is not a text"),
      one_tensor("NegativeShape", R"({"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]})",
                 "shape holds -4"),
      one_tensor("FractionalShape", R"({"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]})",
                 "shape holds 4.0"),
      one_tensor("ShapeNotAList", R"({"dtype": "F32", "shape": 4, "data_offsets": [0, 16]})",
                 "shape is not a list"),
      one_tensor("ShapeOverflows",
                 R"({"dtype": "F32", "shape": [4294967296, 4294967297], "data_offsets": [0, 16]})",
                 "\"a\": shape is too large"),
      one_tensor("ShapeOverflowsToItsBytes",
                 R"({"dtype": "F32", "shape": [4611686018427387908], "data_offsets": [0, 16]})",
                 "\"a\": shape is too large"),
      one_tensor("SizeBeyondInt64",
                 R"({"dtype": "U8", "shape": [9223372036854775808, 0], "data_offsets": [0, 0]})",
                 "\"a\": shape is too large"),
      one_tensor("OffsetsReversed", R"({"dtype": "F32", "shape": [4], "data_offsets": [16, 0]})",
                 "begin <= end"),
      one_tensor("OneOffset", R"({"dtype": "F32", "shape": [4], "data_offsets": [16]})", "begin <= end"),
      one_tensor("OffsetBeyondUint64",
                 R"({"dtype": "F32", "shape": [4], "data_offsets": [0, 18446744073709551632]})",
                 "data_offsets holds"),
      one_tensor("OffsetBeyondFile", R"({"dtype": "F32", "shape": [8], "data_offsets": [0, 32]})",
                 "truncated"),
      one_tensor("SizeNotShape", R"({"dtype": "BF16", "shape": [4], "data_offsets": [0, 16]})",
                 "do not make the 16 bytes"),
      one_tensor("BytesBehind", R"({"dtype": "F32", "shape": [3], "data_offsets": [0, 12]})",
                 "4 bytes stand behind"),
      one_tensor("HoleInFront", R"({"dtype": "F32", "shape": [3], "data_offsets": [4, 16]})", "unused bytes"),
      {"Truncated",
       [](const fs::path& directory) { fs::resize_file(directory / "model.safetensors", 200'000); },
       {kFile, "tensor \"model.", "truncated"}},
      {"OneByteMore",
       [](const fs::path& directory) {
         write_file(directory / "model.safetensors", read_file(directory / "model.safetensors") + "x");
       },
       {kFile, "1 bytes stand behind the last tensor"}},
      changed_file("Overlap",
                   [](SafetensorsFile& file) {
                     for (auto& offset : file.header[kUp]["data_offsets"]) offset = offset.get<int>() - 2;
                   },
                   {kFile, kUp, "overlaps the one before it"}),
      {"ADirectory",
       [](const fs::path& directory) {
         fs::remove(directory / "model.safetensors");
         fs::create_directory(directory / "model.safetensors");
       },
       {kFile, "not a regular file"}},
      {"APipe",
       [](const fs::path& directory) {
         fs::remove(directory / "model.safetensors");
         ASSERT_EQ(mkfifo((directory / "model.safetensors").c_str(), 0600), 0);
       },
       {kFile, "not a regular file"}},
      {"ALinkToNothing",
       [](const fs::path& directory) {
         fs::remove(directory / "model.safetensors");
         fs::create_symlink("nowhere", directory / "model.safetensors");
       },
       {"model.safetensors: cannot be read: No such file", "is the download complete?"}},
      {"NoFile",
       [](const fs::path& directory) { fs::remove(directory / "model.safetensors"); },
       {"holds neither model.safetensors nor"}},
      {"PickleOnly",
       [](const fs::path& directory) {
         fs::rename(directory / "model.safetensors", directory / "pytorch_model.bin");
       },
       {"pytorch_model.bin: ", "safetensors", "save_pretrained"}},
  };
}

std::vector<Breakage> index_breakages() {
  return {
      changed_index("MapMissing", [](auto& index) { index.erase("weight_map"); }, {kIndex, "\"weight_map\""}),
      changed_index("MapEmpty", [](auto& index) { index["weight_map"] = nlohmann::json::object(); },
                    {kIndex, "empty"}),
      changed_index("MapNotTexts", [](auto& index) { index["weight_map"][kUp] = 3; },
                    {kIndex, kUp, "not a text"}),
      changed_index("NameLeavesTheDirectory",
                    [](auto& index) { index["weight_map"][kUp] = "../x.safetensors"; },
                    {kIndex, kUp, "\"../x.safetensors\" is not a file name in this directory"}),
      changed_index("NameIsAbsolute", [](auto& index) { index["weight_map"][kUp] = "/etc/passwd"; },
                    {kIndex, kUp, "/etc/passwd"}),
      changed_index("NameIsTheDirectory", [](auto& index) { index["weight_map"][kUp] = ".."; },
                    {kIndex, kUp, "\"..\""}),
      changed_index("NameHoldsNul", [](auto& index) { index["weight_map"][kUp] = std::string("a\0b", 3); },
                    {kIndex, kUp, "a?b"}),
      changed_index("FileMissing", [](auto& index) { index["weight_map"][kUp] = "part-9.safetensors"; },
                    {"part-9.safetensors: ", "No such file"}),
      changed_index("FileOfAnother",
                    [](auto& index) {
                      auto& file = index["weight_map"][kUp];
                      file = file == "part-0.safetensors" ? "part-1.safetensors" : "part-0.safetensors";
                    },
                    {kIndex, kUp, "should stand in"}),
      changed_index("TensorNowhere", [](auto& index) { index["weight_map"]["ghost"] = "part-0.safetensors"; },
                    {kIndex, "\"ghost\"", "should stand in"}),
      changed_index("TensorNotListed", [](auto& index) { index["weight_map"].erase(kUp); },
                    {kIndex, kUp, "is not in \"weight_map\""}),
      {"TensorInTwoFiles",
       [](const fs::path& directory) {
         fs::rename(directory / "model.safetensors", directory / "one.safetensors");
         fs::copy(directory / "one.safetensors", directory / "two.safetensors");
         write_file(
             directory / "model.safetensors.index.json",
             R"({"weight_map": {"lm_head.weight": "one.safetensors", "model.norm.weight": "two.safetensors"}})");
       },
       {"two.safetensors: ", "lm_head.weight", "also stands in \"one.safetensors\""}},
      {"IndexIsAGitLfsPointer",
       [](const fs::path& directory) {
         fs::remove(directory / "model.safetensors");
         write_file(directory / "model.safetensors.index.json",
                    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 23950\n");
       },
       {kIndex, "a Git LFS pointer", "git lfs pull"}},
      {"IndexCutOff",
       [](const fs::path& directory) {
         fs::remove(directory / "model.safetensors");
         write_file(directory / "model.safetensors.index.json", R"({"weight_map": {"lm_head.weight": "mod)");
       },
       {kIndex, "it ends in the middle; is the download complete?"}},
      {"NotJson",
       [](const fs::path& directory) {
         fs::remove(directory / "model.safetensors");
         write_file(directory / "model.safetensors.index.json", "weight_map");
       },
       {kIndex, "not valid JSON"}},
  };
}

std::vector<Breakage> misfits() {
  return {
      changed_config("TooFewLayers", {{"num_hidden_layers", 4}},
                     {"tensor \"model.layers.3.input_layernorm.weight\"", "missing"}),
      changed_config("TooManyLayers", {{"num_hidden_layers", 2}},
                     {kFile, "tensor \"model.layers.2.", "config.json has only 2 layers"}),
      changed_config("OtherVocabulary", {{"vocab_size", 300}},
                     {kFile, "model.embed_tokens.weight", "has shape [256, 64]", "makes it [300, 64]"}),
      changed_config("OtherKvHeads", {{"num_key_value_heads", 4}},
                     {kFile, "model.layers.0.self_attn.k_proj.weight", "[16, 64]", "[32, 64]"}),
      changed_config("OtherMlp", {{"intermediate_size", 177}},
                     {kFile, "model.layers.0.mlp.gate_proj.weight", "[177, 64]"}),
      changed_config("BiasMissing", {{"attention_bias", true}},
                     {"model.layers.0.self_attn.q_proj.bias", "missing"}),
      changed_file("BiasNotExpected",
                   [](SafetensorsFile& file) {
                     file.add("model.layers.2.mlp.down_proj.bias", "F32", {64}, std::string(256, '\0'));
                   },
                   {kFile, "model.layers.2.mlp.down_proj.bias", "config.json has no bias there"}),
      changed_file("AnotherArchitecturesNorm",
                   [](SafetensorsFile& file) {
                     file.add("model.layers.1.self_attn.q_norm.weight", "F32", {8}, std::string(32, '\0'));
                   },
                   {kFile, "model.layers.1.self_attn.q_norm.weight", "no part of the model"}),
      changed_file("WrongRank",
                   [](SafetensorsFile& file) {
                     file.header["model.norm.weight"]["shape"] = {64, 1};
                   },
                   {kFile, "model.norm.weight", "has shape [64, 1]", "makes it [64]"}),
      changed_file("ForeignType",
                   [](SafetensorsFile& file) { file.header["model.norm.weight"]["dtype"] = "I16"; },
                   {kFile, "model.norm.weight", "has type I16"}),
      changed_file("Renamed",
                   [](SafetensorsFile& file) {
                     file.header["lm_hed.weight"] = file.header["lm_head.weight"];
                     file.header.erase("lm_head.weight");
                   },
                   {"lm_head.weight", "missing"}),
  };
}

class BrokenCheckpoint : public testing::TestWithParam<Breakage> {};

TEST_P(BrokenCheckpoint, IsRefusedByName) {
  const TemporaryDirectory directory;
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy(golden_directory() / file, directory.path() / file);
  }
  GetParam().breaks(directory.path());
  try {
    const ModelConfig config = read_model_config(directory.path());
    const Checkpoint checkpoint(directory.path());
    load_weights(checkpoint, config, make_shard_plan(config.shard_sizes(), 2, 1), kernels::WeightFormat::f32,
                 *HostBackendAlone().backend, {});
    FAIL() << "was accepted";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::model);
    EXPECT_THAT(error.what(), HasSubstr(directory.path().string()));
    for (const std::string& part : GetParam().complaint) EXPECT_THAT(error.what(), HasSubstr(part));
    EXPECT_LT(std::string(error.what()).size(), 600u);
  }
}

const auto kNameOf = [](const auto& test) { return test.param.name; };
INSTANTIATE_TEST_SUITE_P(File, BrokenCheckpoint, testing::ValuesIn(file_breakages()), kNameOf);
INSTANTIATE_TEST_SUITE_P(Index, BrokenCheckpoint, testing::ValuesIn(index_breakages()), kNameOf);
INSTANTIATE_TEST_SUITE_P(Misfit, BrokenCheckpoint, testing::ValuesIn(misfits()), kNameOf);

struct FamilyMisfit {
  const char* checkpoint;
  json changes;
  std::vector<std::string> complaint;
};

TEST(FamilyMisfits, AreRefusedByTensor) {
  const FamilyMisfit misfits[] = {
      {"falcon-7b-style",
       {{"bias", true}},
       {"transformer.h.0.self_attention.query_key_value.bias", "missing"}},
      {"falcon-7b-style",
       {{"multi_query", false}},
       {"transformer.h.0.self_attention.query_key_value.weight", "[112, 80]", "[240, 80]"}},
      {"falcon-7b-style",
       {{"parallel_attn", false}},
       {"transformer.h.0.post_attention_layernorm.weight", "missing"}},
      {"falcon-40b-style",
       {{"num_kv_heads", 4}},
       {"transformer.h.0.self_attention.query_key_value.weight", "[96, 64]", "[128, 64]"}},
      {"falcon-40b-style",
       {{"num_ln_in_parallel_attn", 1}},
       {"transformer.h.0.input_layernorm.weight", "missing"}},
      {"gpt-neox",
       {{"attention_bias", false}},
       {"gpt_neox.layers.0.attention.query_key_value.bias", "config.json has no bias there"}},
      {"gpt-neox", {{"intermediate_size", 255}}, {"gpt_neox.layers.0.mlp.dense_h_to_4h.weight", "[255, 64]"}},
      {"mpt", {{"no_bias", false}}, {"transformer.norm_f.bias", "missing"}},
      {"mpt", {{"attn_config", {{"qk_ln", true}}}}, {"transformer.blocks.0.attn.q_ln.weight", "missing"}},
      {"mpt",
       {{"attn_config", {{"kv_n_heads", 2}}}},
       {"transformer.blocks.0.attn.Wqkv.weight", "[192, 64]", "[128, 64]"}},
      {"mistral", {{"head_dim", 16}}, {"model.layers.0.self_attn.q_proj.weight", "[128, 64]", "[64, 64]"}},
  };
  for (const FamilyMisfit& misfit : misfits) {
    SCOPED_TRACE(testing::Message() << misfit.checkpoint << " with " << misfit.changes);
    const TemporaryDirectory directory;
    auto config = json::parse(read_file(golden_directory(misfit.checkpoint) / "config.json"));
    config.update(misfit.changes);
    write_file(directory.path() / "config.json", config.dump());
    const Checkpoint checkpoint(golden_directory(misfit.checkpoint));
    try {
      check_tensors(checkpoint, read_model_config(directory.path()));
      ADD_FAILURE() << "was accepted";
    } catch (const StartupError& error) {
      for (const std::string& part : misfit.complaint) EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }
}

// What is said of the golden Llama, changed so, when config.json ties its embeddings.
std::string complaint_about_tied(const std::function<void(SafetensorsFile&)>& change,
                                 const std::function<void(std::int64_t, std::int64_t)>& progress = {}) {
  const TemporaryDirectory directory;
  auto config = json::parse(read_file(golden_directory() / "config.json"));
  config["tie_word_embeddings"] = true;
  write_file(directory.path() / "config.json", config.dump());
  SafetensorsFile file = SafetensorsFile::read(golden_directory() / "model.safetensors");
  change(file);
  write_file(directory.path() / "model.safetensors", file.to_bytes());
  const ModelConfig model = read_model_config(directory.path());
  const Checkpoint checkpoint(directory.path());
  try {
    for (int rank = 0; rank < 3; ++rank) {
      load_weights(checkpoint, model, make_shard_plan(model.shard_sizes(), 3, rank),
                   kernels::WeightFormat::bf16, *HostBackendAlone().backend, progress);
    }
    return "(accepted)";
  } catch (const StartupError& error) {
    return error.what();
  }
}

// Old checkpoints hold constants beside the weights, and tied ones the same matrix twice.
TEST(InertTensors, AreAccepted) {
  EXPECT_EQ(complaint_about_tied([](SafetensorsFile& file) {
              const std::string embedding = file.bytes_of("model.embed_tokens.weight");
              const auto& offsets = file.header["lm_head.weight"]["data_offsets"];
              file.data.replace(offsets[0].get<std::size_t>(), embedding.size(), embedding);
              file.add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {4}, std::string(16, '\0'));
            }),
            "(accepted)");
}

TEST(InertTensors, AnotherHeadThanTheTiedOneIsRefused) {
  EXPECT_THAT(complaint_about_tied([](SafetensorsFile&) {}),
              HasSubstr("\"lm_head.weight\": differs from the embedding, though config.json ties the two"));
}

// The watchdog takes a rank that reports nothing for stuck, and from a cold disk both matrices take long.
TEST(InertTensors, WhileTiedOnesAreComparedThereIsProgress) {
  int reports = 0;
  const std::string complaint = complaint_about_tied([](SafetensorsFile&) {},
                                                     [&](std::int64_t done, std::int64_t) {
                                                       EXPECT_EQ(done, 0);
                                                       ++reports;
                                                     });
  EXPECT_THAT(complaint, HasSubstr("differs from the embedding"));
  EXPECT_EQ(reports, 1);
}

TEST(ForeignCheckpoints, AreRefusedWithWhatToDo) {
  const std::pair<const char*, const char*> cases[] = {
      {"model.gguf", "GGUF files are not read; use the original"},
      {"adapter_config.json", "an adapter (LoRA), not a model; merge it"},
      {"consolidated.safetensors", "the publisher's own layout"},
      {"model-00001-of-00002.safetensors", "model.safetensors.index.json, which tells how, is missing"},
      {"model.safetensors.incomplete", "an unfinished download"},
      {"model-00001-of-00002.safetensors.part", "an unfinished download"},
      {"config.json", "set model.path to a checkpoint directory"},
  };
  for (const auto& [file, complaint] : cases) {
    const TemporaryDirectory directory;
    write_file(directory.path() / file, "");
    try {
      const Checkpoint checkpoint(directory.path());
      ADD_FAILURE() << file << " was accepted";
    } catch (const StartupError& error) {
      EXPECT_THAT(error.what(), HasSubstr(complaint));
    }
  }
}

TEST(MissingCheckpoint, SaysSo) {
  try {
    const Checkpoint checkpoint("/no/such/place");
    FAIL() << "was accepted";
  } catch (const StartupError& error) {
    EXPECT_STREQ(error.what(), "/no/such/place: no such directory");
  }
}

}  // namespace
}  // namespace sinkstream
