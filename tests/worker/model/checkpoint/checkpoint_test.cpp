#include "worker/model/checkpoint/checkpoint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "tests/patience.h"
#include "tests/worker/model/support/checkpoint_files.h"

namespace sinkstream {
namespace {

using kernels::bfloat16;
using kernels::DType;
using testing::ElementsAre;

std::vector<float> counting(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), -3.0f);
  return values;
}

class CheckpointTest : public testing::Test {
 protected:
  Checkpoint write(const SafetensorsFile& file) {
    write_file(directory_.path() / "model.safetensors", file.to_bytes());
    return Checkpoint(directory_.path());
  }

  TemporaryDirectory directory_;
};

TEST_F(CheckpointTest, ReadsSlicesOfEveryType) {
  SafetensorsFile file;
  file.add("odd", "U8", {3}, "abc");  // so that the others are not aligned
  file.add("f32", "F32", {4, 5}, encode(counting(20), DType::f32));
  file.add("bf16", "BF16", {4, 5}, encode(counting(20), DType::bf16));
  file.add("f16", "F16", {4, 5}, encode(counting(20), DType::f16));
  file.add("vector", "F16", {4}, encode(counting(4), DType::f16));
  const Checkpoint checkpoint = write(file);

  for (const char* name : {"f32", "bf16", "f16"}) {
    const TensorInfo& tensor = checkpoint.expect(name, {4, 5});
    std::vector<float> slice(6, NAN);
    checkpoint.read_slice(tensor, {1, 4}, {2, 4}, DType::f32, slice.data());
    EXPECT_THAT(slice, ElementsAre(4, 5, 9, 10, 14, 15)) << name;
    checkpoint.read_slice(tensor, {2, 3}, {0, 5}, DType::f32, slice.data());
    EXPECT_THAT(slice, ElementsAre(7, 8, 9, 10, 11, 15)) << name;
    std::vector<bfloat16> half(2);
    checkpoint.read_slice(tensor, {3, 4}, {3, 5}, DType::bf16, half.data());
    EXPECT_EQ(to_float(half[0]), 15) << name;
    EXPECT_EQ(to_float(half[1]), 16) << name;
    checkpoint.read_slice(tensor, {4, 4}, {0, 5}, DType::f32, nullptr);
    checkpoint.read_slice(tensor, {0, 4}, {5, 5}, DType::f32, nullptr);
  }
  std::vector<float> vector(2);
  checkpoint.read_slice(checkpoint.expect("vector", {4}), {2, 4}, {0, 1}, DType::f32, vector.data());
  EXPECT_THAT(vector, ElementsAre(-1, 0));
}

TEST_F(CheckpointTest, ConversionsKeepExtremes) {
  const float infinity = std::numeric_limits<float>::infinity();
  SafetensorsFile file;
  file.add("f32", "F32", {4}, encode({1.00390625f, 1.01171875f, -infinity, 1e-40f}, DType::f32));
  file.add("f16", "F16", {3}, encode({0x1p-24f, -65504.0f, 0x1.8p-15f}, DType::f16));
  const Checkpoint checkpoint = write(file);
  std::vector<bfloat16> rounded(4);
  checkpoint.read_slice(checkpoint.expect("f32", {4}), {0, 4}, {0, 1}, DType::bf16, rounded.data());
  EXPECT_EQ(to_float(rounded[0]), 1.0f) << "a tie, to even";
  EXPECT_EQ(to_float(rounded[1]), 1.015625f) << "a tie, to even";
  EXPECT_EQ(to_float(rounded[2]), -infinity);
  EXPECT_EQ(to_float(rounded[3]), 0x1p-133f) << "the nearest of the smallest";
  std::vector<float> wide(3);
  checkpoint.read_slice(checkpoint.expect("f16", {3}), {0, 3}, {0, 1}, DType::f32, wide.data());
  EXPECT_THAT(wide, ElementsAre(0x1p-24f, -65504.0f, 0x1.8p-15f));
}

TEST_F(CheckpointTest, AcceptsScalarsAndEmptyTensors) {
  SafetensorsFile file;
  file.add("empty", "F32", {0, 7}, "");
  file.add("scalar", "F32", {}, encode({42.0f}, DType::f32));
  file.add("also_empty", "BF16", {3, 0}, "");
  const Checkpoint checkpoint = write(file);
  float scalar = 0;
  checkpoint.read_slice(checkpoint.expect("scalar", {}), {0, 1}, {0, 1}, DType::f32, &scalar);
  EXPECT_EQ(scalar, 42.0f);
  EXPECT_EQ(checkpoint.expect("empty", {0, 7}).bytes, 0u);
  EXPECT_EQ(checkpoint.tensors().size(), 3u);
}

TEST_F(CheckpointTest, AcceptsAFileWithoutTensorsAndAPaddedHeader) {
  write_file(directory_.path() / "model.safetensors", join_safetensors("{}   ", ""));
  EXPECT_TRUE(Checkpoint(directory_.path()).tensors().empty());
}

TEST_F(CheckpointTest, RefusesSlicesBeyondTheTensor) {
  SafetensorsFile file;
  file.add("matrix", "F32", {4, 5}, encode(counting(20), DType::f32));
  const Checkpoint checkpoint = write(file);
  const TensorInfo& matrix = checkpoint.expect("matrix", {4, 5});
  std::vector<float> out(64);
  const std::vector<std::pair<Range, Range>> slices = {{{0, 5}, {0, 5}}, {{0, 4}, {0, 6}},  {{-1, 2}, {0, 5}},
                                                       {{3, 2}, {0, 5}}, {{0, 4}, {-1, 0}}, {{0, 1}, {4, 3}}};
  for (const auto& [rows, columns] : slices) {
    EXPECT_THROW(checkpoint.read_slice(matrix, rows, columns, DType::f32, out.data()), std::invalid_argument);
  }
  EXPECT_THROW(checkpoint.read_slice(matrix, {0, 1}, {0, 1}, DType::f16, out.data()), std::invalid_argument);
}

TEST_F(CheckpointTest, SeveralFilesEqualOne) {
  const Checkpoint one(golden_directory());
  write_sharded(golden_directory(), directory_.path(), 3);
  const Checkpoint several(directory_.path());
  ASSERT_EQ(several.tensors().size(), one.tensors().size());
  for (const auto& [name, tensor] : one.tensors()) {
    const Range columns = {0, tensor.shape.size() == 2 ? tensor.shape[1] : 1};
    std::vector<bfloat16> a(tensor.bytes / 2), b(tensor.bytes / 2);
    one.read_slice(tensor, {0, tensor.shape[0]}, columns, DType::bf16, a.data());
    several.read_slice(several.expect(name, tensor.shape), {0, tensor.shape[0]}, columns, DType::bf16,
                       b.data());
    EXPECT_TRUE(std::ranges::equal(a, b, {}, &bfloat16::bits, &bfloat16::bits)) << name;
  }
}

TEST_F(CheckpointTest, TheFingerprintTellsHeadersAndValuesApart) {
  SafetensorsFile file;
  file.add("a", "F32", {1}, encode({1}, DType::f32));
  const std::uint64_t first = write(file).fingerprint();
  EXPECT_EQ(write(file).fingerprint(), first);
  SafetensorsFile retrained;
  retrained.add("a", "F32", {1}, encode({2}, DType::f32));
  EXPECT_NE(write(retrained).fingerprint(), first);
  file.add("b", "F32", {1}, encode({1}, DType::f32));
  EXPECT_NE(write(file).fingerprint(), first);
}

TEST_F(CheckpointTest, ManyTensorsTakeTimeInProportion) {
  SafetensorsFile file;
  nlohmann::ordered_json::object_t many;
  for (int i = 0; i < 100'000; ++i) {
    many.emplace_back("tensor" + std::to_string(i),
                      nlohmann::ordered_json{{"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {0, 0}}});
  }
  file.header = std::move(many);
  const double begin = processor_seconds();
  EXPECT_EQ(write(file).tensors().size(), 100'000u);
  EXPECT_LT(processor_seconds() - begin, 20) << "it took minutes once";
}

TEST_F(CheckpointTest, SaysWhetherItHoldsFloat16) {
  SafetensorsFile file;
  file.add("a", "BF16", {1}, encode({1}, DType::bf16));
  EXPECT_FALSE(write(file).holds_f16());
  file.add("b", "F16", {1}, encode({1}, DType::f16));
  EXPECT_TRUE(write(file).holds_f16());
}

TEST_F(CheckpointTest, FollowsLinksToFilesElsewhere) {
  const TemporaryDirectory elsewhere;
  SafetensorsFile file;
  file.add("a", "F32", {1}, encode({1}, DType::f32));
  write_file(elsewhere.path() / "blob", file.to_bytes());
  std::filesystem::create_symlink(elsewhere.path() / "blob", directory_.path() / "model.safetensors");
  EXPECT_TRUE(Checkpoint(directory_.path()).contains("a"));
}

// Of a matrix too large for the page cache to have by itself, a rank reads its columns' pages only.
TEST_F(CheckpointTest, ReadsOnlyThePagesOfItsSlice) {
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kColumns = 64 << 10;  // 256 KiB a row
  SafetensorsFile file;
  file.add("matrix", "F32", {kRows, kColumns}, std::string(kRows * kColumns * sizeof(float), '\0'));
  const auto path = directory_.path() / "model.safetensors";
  write_file(path, file.to_bytes());
  const auto bytes = std::filesystem::file_size(path);

  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(descriptor, 0);
  fsync(descriptor);
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  void* const mapping = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  close(descriptor);
  ASSERT_NE(mapping, MAP_FAILED);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto pages_in_memory = [&] {
    std::vector<unsigned char> pages(bytes / page + 1);
    mincore(mapping, bytes, pages.data());
    return std::ranges::count_if(pages, [](unsigned char p) { return p & 1; });
  };
  const auto before = pages_in_memory();
  const Checkpoint checkpoint(directory_.path());
  std::vector<float> slice(kRows * 1024);
  checkpoint.read_slice(checkpoint.expect("matrix", {kRows, kColumns}), {0, kRows}, {2048, 3072}, DType::f32,
                        slice.data());
  const auto after = pages_in_memory();
  munmap(mapping, bytes);
  if (before > 0) GTEST_SKIP() << "this file system keeps files in memory";
  EXPECT_LE(after, kRows * 2 + 64) << "pages: at most two for each row's 4 KiB, and the header's";
}

}  // namespace
}  // namespace sinkstream
