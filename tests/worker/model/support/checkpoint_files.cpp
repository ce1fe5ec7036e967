#include "tests/worker/model/support/checkpoint_files.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "tests/paths.h"
#include "worker/model/checkpoint/checkpoint.h"

namespace sinkstream {

namespace fs = std::filesystem;
using kernels::DType;

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void write_file(const fs::path& path, const std::string& content) {
  std::ofstream stream(path, std::ios::binary);
  stream << content;
  if (!stream.flush()) throw std::runtime_error("cannot write " + path.string());
}

std::string join_safetensors(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

SafetensorsFile SafetensorsFile::read(const fs::path& path) {
  const std::string content = read_file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof length);
  return {nlohmann::ordered_json::parse(content.substr(sizeof length, length)),
          content.substr(sizeof length + length)};
}

void SafetensorsFile::add(const std::string& name, const std::string& dtype,
                          const std::vector<std::int64_t>& shape, const std::string& bytes) {
  header[name] = {
      {"dtype", dtype}, {"shape", shape}, {"data_offsets", {data.size(), data.size() + bytes.size()}}};
  data += bytes;
}

std::string SafetensorsFile::bytes_of(const std::string& name) const {
  const auto& offsets = header.at(name).at("data_offsets");
  const auto begin = offsets.at(0).get<std::size_t>();
  return data.substr(begin, offsets.at(1).get<std::size_t>() - begin);
}

std::string SafetensorsFile::to_bytes() const {
  return join_safetensors(header.dump(), data);
}

namespace {

// Rounds to nearest, ties to even; for values within float16's range.
std::uint16_t to_float16(float value) {
  const int exponent = std::max(std::ilogb(value), -14);  // below 2^-14 numbers stand 2^-24 apart
  const float step = std::ldexp(1.0f, exponent - 10);
  const float rounded = std::nearbyint(std::abs(value) / step) * step;
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (rounded < 0x1p-14f) return static_cast<std::uint16_t>(sign | static_cast<int>(rounded * 0x1p24f));
  const int biased = std::ilogb(rounded) + 15;
  const int mantissa = static_cast<int>(std::ldexp(rounded, 25 - biased)) - 1024;
  return static_cast<std::uint16_t>(sign | (biased << 10) | mantissa);
}

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

const char* stored_name(DType dtype) {
  return dtype == DType::f32 ? "F32" : dtype == DType::bf16 ? "BF16" : "F16";
}

}  // namespace

std::string encode(const std::vector<float>& values, DType dtype) {
  std::string bytes;
  for (const float value : values) {
    if (dtype == DType::f32) append(bytes, value);
    if (dtype == DType::bf16) append(bytes, kernels::to_bfloat16(value).bits);
    if (dtype == DType::f16) append(bytes, value == 0 ? std::uint16_t{0} : to_float16(value));
  }
  return bytes;
}

void write_sharded(const fs::path& from, const fs::path& to, int shards) {
  const auto whole = SafetensorsFile::read(from / "model.safetensors");
  std::vector<SafetensorsFile> files(static_cast<std::size_t>(shards));
  nlohmann::json weight_map;
  fs::create_directories(to);
  std::size_t next = 0;
  for (const auto& [name, entry] : whole.header.items()) {
    if (name == "__metadata__") continue;
    const std::size_t shard = next++ % files.size();
    files[shard].add(name, entry.at("dtype"), entry.at("shape"), whole.bytes_of(name));
    weight_map[name] = "part-" + std::to_string(shard) + ".safetensors";
  }
  for (std::size_t shard = 0; shard < files.size(); ++shard) {
    write_file(to / ("part-" + std::to_string(shard) + ".safetensors"), files[shard].to_bytes());
  }
  write_file(to / "model.safetensors.index.json", nlohmann::json{{"weight_map", weight_map}}.dump());
  fs::copy_file(from / "config.json", to / "config.json");
}

void write_converted(const fs::path& from, const fs::path& to, DType dtype, float factor) {
  const Checkpoint checkpoint(from);
  SafetensorsFile file;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const std::int64_t columns = tensor.shape.size() == 2 ? tensor.shape[1] : 1;
    std::vector<float> values(static_cast<std::size_t>(tensor.shape[0] * columns));
    checkpoint.read_slice(tensor, {0, tensor.shape[0]}, {0, columns}, DType::f32, values.data());
    for (float& value : values) value *= factor;
    file.add(name, stored_name(dtype), tensor.shape, encode(values, dtype));
  }
  write_file(to / "model.safetensors", file.to_bytes());
  fs::copy_file(from / "config.json", to / "config.json");
}

fs::path golden_directory(const std::string& checkpoint) {
  return test_data_dir() / "models" / checkpoint;
}

std::string as_test_name(std::string name) {
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace sinkstream
