// Checkpoint files made by tests.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/types.h"
#include "tests/temporary_directory.h"

namespace sinkstream {

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, const std::string& content);

// A safetensors file in parts, to be bent and written.
struct SafetensorsFile {
  nlohmann::ordered_json header;
  std::string data;

  static SafetensorsFile read(const std::filesystem::path& path);
  void add(const std::string& name, const std::string& dtype, const std::vector<std::int64_t>& shape,
           const std::string& bytes);
  std::string bytes_of(const std::string& name) const;
  std::string to_bytes() const;
};

// Eight bytes of length, the header, the data.
std::string join_safetensors(const std::string& header, const std::string& data);

// `values` as a checkpoint stores them.
std::string encode(const std::vector<float>& values, kernels::DType dtype);

// Writes the tensors of a checkpoint's one file again: to several files with an index, or in another type.
void write_sharded(const std::filesystem::path& from, const std::filesystem::path& to, int shards);
void write_converted(const std::filesystem::path& from, const std::filesystem::path& to, kernels::DType dtype,
                     float factor);

// The golden checkpoints: 3 layers, 256 tokens, bf16. The Llama has 8 heads and 2 KV heads.
std::filesystem::path golden_directory(const std::string& checkpoint = "llama-gqa");

// One of each architecture, of Falcon's both kinds.
inline const std::string kGoldenArchitectures[] = {"llama-gqa",       "mistral",          "mpt",
                                                   "falcon-7b-style", "falcon-40b-style", "gpt-neox"};

// GoogleTest takes no '-' in the name of a case.
std::string as_test_name(std::string name);
inline std::string name_of_checkpoint(const testing::TestParamInfo<std::string>& test) {
  return as_test_name(test.param);
}

}  // namespace sinkstream
