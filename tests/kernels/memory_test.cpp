// A backend's memory and its queue.
#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "tests/kernels/on_device.h"
#include "tests/kernels/resident_bytes.h"

namespace sinkstream::kernels {
namespace {

class Memory : public OnEveryBackend {
 protected:
  std::vector<std::byte> read(Address from, std::int64_t bytes) {
    std::vector<std::byte> content(bytes);
    backend().download(from, content);
    wait_for_all(backend());
    return content;
  }
};

TEST_P(Memory, IsZeroAndHoldsWhatIsUploaded) {
  for (const std::int64_t size : {1, 7, 64, 4096, 100'003}) {
    const Buffer buffer = backend().allocate(size, "a test");
    EXPECT_EQ(buffer.bytes(), size);
    EXPECT_EQ(read(buffer.address(), size), std::vector<std::byte>(size));
    std::vector<std::byte> content(size);
    for (std::int64_t i = 0; i < size; ++i) content[i] = static_cast<std::byte>(i * 31 + 5);
    backend().upload(content, buffer.address());
    const std::vector<std::byte> uploaded = content;
    std::ranges::fill(content, std::byte{1});  // what was uploaded may change at once
    EXPECT_EQ(read(buffer.address(), size), uploaded);
    EXPECT_EQ(read(buffer.address() + size / 2, 1).front(), uploaded[size / 2]);
  }
}

TEST_P(Memory, DiscardZeroesThatAndNothingElse) {
  constexpr std::int64_t kSize = 300'000;
  const Buffer buffer = backend().allocate(kSize, "a test");
  const std::vector<std::byte> full(kSize, std::byte{7});
  for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{0, kSize},
                                     {1, 4095},
                                     {4096, 4096},
                                     {70, 0},
                                     {5, 250'000},
                                     {kSize - 3, 3},
                                     {100, 9}}) {
    backend().upload(full, buffer.address());
    backend().discard(buffer.address() + first, count);
    std::vector<std::byte> expected = full;
    std::fill_n(expected.begin() + first, count, std::byte{0});
    EXPECT_EQ(read(buffer.address(), kSize), expected) << first << " + " << count;
  }
}

// Pieces of all sizes, so that threads share them and a GPU's own copies of pieces end (4096 bytes in the
// emulation); what is between them and beside them stays.
TEST_P(Memory, CopiesPiecesAndNothingElse) {
  constexpr std::int64_t kHalf = 4'500'000;  // so much passes the caches of a CPU by
  const Buffer buffer = backend().allocate(2 * kHalf, "a test");
  std::vector<std::byte> content(2 * kHalf);
  for (std::int64_t i = 0; i < 2 * kHalf; ++i) content[i] = static_cast<std::byte>(i * 31 + i / 251 + 5);
  for (const Pieces& pieces : {Pieces{.bytes = kHalf - 10},
                               {.bytes = 1'100'003, .count = 4, .stride = 1'100'017},
                               {.bytes = 1},
                               {.bytes = 0},
                               {.bytes = 7, .count = 1, .stride = -5},
                               {.bytes = 5, .count = 0, .stride = 8},
                               {.bytes = 64, .count = 9, .stride = 64},
                               {.bytes = 13, .count = 41, .stride = 24},
                               {.bytes = 1000, .count = 100, .stride = 4096},
                               {.bytes = 3000, .count = 77, .stride = 8000},
                               {.bytes = 200'001, .count = 3, .stride = 210'000}}) {
    for (const auto& [from, to] : {std::pair<std::int64_t, std::int64_t>{3, kHalf + 5}, {kHalf + 8, 8}}) {
      backend().upload(content, buffer.address());
      backend().copy(buffer.address() + from, buffer.address() + to, pieces);
      std::vector<std::byte> expected = content;
      for (std::int64_t i = 0; i < pieces.count; ++i) {
        std::copy_n(content.begin() + from + i * pieces.stride, pieces.bytes,
                    expected.begin() + to + i * pieces.stride);
      }
      EXPECT_TRUE(read(buffer.address(), 2 * kHalf) == expected)
          << pieces.count << " of " << pieces.bytes << " every " << pieces.stride << " from " << from;
    }
  }
}

// To this host's memory and back, in whole and in pieces.
TEST_P(Memory, WhatIsPutAsideInTheHostComesBack) {
  constexpr std::int64_t kSize = 700'000;
  const Buffer buffer = backend().allocate(kSize, "a test");
  const Buffer aside = backend().allocate_in_host(kSize, "a test");
  EXPECT_EQ(aside.bytes(), kSize);
  std::vector<std::byte> content(kSize);
  for (std::int64_t i = 0; i < kSize; ++i) content[i] = static_cast<std::byte>(i * 31 + i / 251 + 5);
  for (const Pieces& pieces : {Pieces{.bytes = kSize},
                               {.bytes = 1},
                               {.bytes = 13, .count = 41, .stride = 24},
                               {.bytes = 1000, .count = 100, .stride = 4096},
                               {.bytes = 3000, .count = 77, .stride = 8000}}) {
    backend().upload(content, buffer.address());
    backend().copy(buffer.address(), aside.address(), pieces);
    backend().discard(buffer.address(), kSize);
    backend().copy(aside.address(), buffer.address(), pieces);
    std::vector<std::byte> expected(kSize);
    for (std::int64_t i = 0; i < pieces.count; ++i) {
      std::copy_n(content.begin() + i * pieces.stride, pieces.bytes, expected.begin() + i * pieces.stride);
    }
    EXPECT_TRUE(read(buffer.address(), kSize) == expected)
        << pieces.count << " of " << pieces.bytes << " every " << pieces.stride;
  }
  const Buffer further = backend().allocate_in_host(kSize, "a test");
  backend().copy(aside.address(), further.address(), {.bytes = 100});
  backend().copy(further.address(), buffer.address(), {.bytes = 100});
  const auto first = read(buffer.address(), 100);
  EXPECT_TRUE(std::ranges::equal(first, std::span(content).first(100)));
  // It is this host's to write and read, too.
  const auto in_host = reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(further.address()));
  EXPECT_TRUE(std::equal(first.begin(), first.end(), in_host));
  std::fill_n(in_host, 100, std::byte{7});
  backend().copy(further.address(), buffer.address(), {.bytes = 100});
  EXPECT_EQ(read(buffer.address(), 100), std::vector<std::byte>(100, std::byte{7}));
}

TEST_P(Memory, WhatCannotBeHadIsRefusedWithTheBytes) {
  for (const auto& [bytes, in_host] :
       {std::pair{INT64_MAX, false}, {std::int64_t{1} << 60, false}, {std::int64_t{1} << 60, true}}) {
    try {
      if (in_host) {
        backend().allocate_in_host(bytes, "a very large thing");
      } else {
        backend().allocate(bytes, "a very large thing");
      }
      ADD_FAILURE() << "so much memory?";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::device);
      EXPECT_THAT(error.what(), testing::HasSubstr("a very large thing"));
      EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(bytes)));
    }
  }
}

TEST_P(Memory, NoBytesAreNoMemory) {
  const Buffer buffer = backend().allocate(0, "nothing");
  EXPECT_EQ(buffer.bytes(), 0);
  backend().upload({}, buffer.address());
  EXPECT_TRUE(read(buffer.address(), 0).empty());
}

TEST_P(Memory, MarksAreCountedFromOne) {
  EXPECT_EQ(backend().mark(), 1u);
  EXPECT_EQ(backend().mark(), 2u);
  backend().wait(2);
  backend().wait(1);
  EXPECT_THROW(backend().wait(0), std::invalid_argument);
  EXPECT_THROW(backend().wait(3), std::invalid_argument) << "it has not been given yet";
  EXPECT_GE(backend().steps_in_flight(), 1);
}

// Uploads, operations, copies and downloads that are queued one behind the other see each other's results in
// order.
TEST_P(Memory, WorkIsDoneInOrder) {
  const OnDevice<float> values(backend(), std::vector<float>(64, 0.0f));
  const Matrix x{DeviceSpan<float>(values).data, 1, 64};
  const OnDevice<float> ones(backend(), std::vector<float>(64, 1.0f));
  const Matrix y{DeviceSpan<float>(ones).data, 1, 64};
  const OnDevice<float> copied(backend(), std::vector<float>(64, 0.0f));
  const Address backup = DeviceSpan<float>(copied).data;
  std::vector<std::vector<float>> seen(20, std::vector<float>(64));
  std::vector<std::uint64_t> marks;
  for (std::vector<float>& download : seen) {
    backend().add(y, x);
    backend().download(x.data, std::as_writable_bytes(std::span(download)));
    marks.push_back(backend().mark());
    backend().scale(2.0f, x);
    backend().copy(x.data, backup, {.bytes = x.bytes()});
    backend().scale(100.0f, x);
    backend().copy(backup, x.data, {.bytes = 4, .count = 64, .stride = 4});
  }
  float expected = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    backend().wait(marks[i]);
    expected += 1;
    EXPECT_EQ(seen[i], std::vector<float>(64, expected));
    expected *= 2;
  }
}

// A weight of some huge pages, packed in pieces.
TEST_P(Memory, AWeightIsPackedInAnyPieces) {
  constexpr std::int64_t kOut = 700, kIn = 1001;
  Random random(9);
  const Tensor values = random.matrix(kOut, kIn);
  const Weight weight = backend().allocate_weight(weight_shape(WeightFormat::f32, kOut, {0, kIn}, kIn));
  EXPECT_GE(weight.memory.bytes(), kOut * kIn * 4);
  for (std::int64_t first = 0; first < kOut; first += 256) {
    const std::int64_t count = std::min<std::int64_t>(256, kOut - first);
    Tensor piece(count, kIn);
    std::ranges::copy(std::span(values.data).subspan(first * kIn, count * kIn), piece.data.begin());
    backend().pack(ConstHostMatrix(piece), first, weight);
    std::ranges::fill(piece.data, kUnwritten);  // it may change at once
  }
  std::vector<std::int32_t> all(kOut);
  std::iota(all.begin(), all.end(), 0);
  const OnDevice<std::int32_t> rows(backend(), all);
  const DeviceTensor out(backend(), kOut, kIn);
  backend().embed(rows, weight, 0, out);
  expect_same_bits(out.read().data, values.data);
}

INSTANTIATE_ON_EVERY_BACKEND(Memory);

class HostMemory : public OnEveryBackend {};

// Room for a terabyte is nothing until it is written, and nothing again after it was discarded.
TEST_P(HostMemory, IsTakenWhenWrittenAndGivenBack) {
  const Buffer buffer = backend().allocate(std::int64_t{1} << 40, "room");
  constexpr std::int64_t kTouched = 64 << 20;
  const Address touched = buffer.address() + (std::int64_t{1} << 39);
  EXPECT_LT(resident_bytes(touched, kTouched), 4 << 20);
  backend().upload(std::vector<std::byte>(kTouched, std::byte{1}), touched);
  EXPECT_GE(resident_bytes(touched, kTouched), kTouched);
  backend().discard(touched, kTouched);
  EXPECT_LT(resident_bytes(touched, kTouched), 4 << 20);
}

INSTANTIATE_TEST_SUITE_P(On, HostMemory,
                         testing::Values(BackendCase{BackendCase::Kind::reference, 0},
                                         BackendCase{BackendCase::Kind::cpu, 0}),
                         backend_case_name);

}  // namespace
}  // namespace sinkstream::kernels
