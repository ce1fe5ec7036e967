// What every communicator promises, checked by one rank among others. All ranks call the same function
// together.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "parallel/communicator/communicator.h"

namespace sinkstream::contract {

// The values of one rank: of very different sizes, so that another order of addition gives other bits.
inline std::vector<float> values_of_rank(int rank, std::size_t length) {
  std::mt19937 random(static_cast<unsigned>(rank) * 7919U + static_cast<unsigned>(length));
  std::uniform_real_distribution<float> mantissa(-1.0F, 1.0F);
  std::uniform_int_distribution<int> exponent(-20, 20);
  std::vector<float> values(length);
  for (float& value : values) value = std::ldexp(mantissa(random), exponent(random));
  return values;
}

inline std::vector<float> sum_in_rank_order(int ranks, std::size_t length) {
  std::vector<float> sum = values_of_rank(0, length);
  for (int r = 1; r < ranks; ++r) {
    const std::vector<float> addend = values_of_rank(r, length);
    for (std::size_t i = 0; i < length; ++i) sum[i] += addend[i];
  }
  return sum;
}

inline void expect_equal_bits(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(actual[i]), std::bit_cast<std::uint32_t>(expected[i]))
        << "element " << i << " of " << actual.size() << ": " << actual[i] << " instead of " << expected[i];
  }
}

inline void sums_in_rank_order(Communicator& communicator) {
  for (const std::size_t length : {0, 1, 2, 3, 7, 8, 100, 1021, 8191, 8192, 8193, 10007, 65537}) {
    std::vector<float> values = values_of_rank(communicator.rank(), length);
    communicator.all_reduce_sum(values);
    expect_equal_bits(values, sum_in_rank_order(communicator.size(), length));
  }
}

// Each element alone must have the bits that it has among many.
inline void sum_does_not_depend_on_length(Communicator& communicator) {
  constexpr std::size_t kLength = 20000;
  const std::vector<float> mine = values_of_rank(communicator.rank(), kLength);
  std::vector<float> together = mine;
  communicator.all_reduce_sum(together);
  std::vector<float> in_pieces = mine;
  for (std::size_t begin = 0; begin < kLength; begin += 997) {
    communicator.all_reduce_sum(
        std::span(in_pieces).subspan(begin, std::min<std::size_t>(997, kLength - begin)));
  }
  expect_equal_bits(together, in_pieces);
}

inline void keeps_signed_zeros_and_infinities(Communicator& communicator) {
  std::vector<float> values{-0.0F, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::denorm_min()};
  communicator.all_reduce_sum(values);
  const auto ranks = static_cast<float>(communicator.size());
  expect_equal_bits(values, {-0.0F, std::numeric_limits<float>::infinity(),
                             std::numeric_limits<float>::denorm_min() * ranks});
}

inline std::vector<std::byte> message_of(std::size_t length) {
  std::vector<std::byte> message(length);
  for (std::size_t i = 0; i < length; ++i) message[i] = static_cast<std::byte>(i * 31 + length);
  return message;
}

inline void broadcasts_any_length(Communicator& communicator) {
  for (const std::size_t length : {0, 1, 8, 3063, 3064, 3065, 4096, 100000, 3000001}) {
    std::vector<std::byte> message = communicator.is_leader()
                                         ? message_of(length)
                                         : message_of(static_cast<std::size_t>(communicator.rank()) * 5);
    communicator.broadcast(message);
    ASSERT_EQ(message, message_of(length));
  }
}

inline void gathers_in_rank_order(Communicator& communicator) {
  for (const std::size_t length : {0, 1, 3, 4096, 70001}) {
    const std::vector<std::byte> mine = message_of(length + 1);
    std::vector<std::byte> block(mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(length));
    if (length > 0) block[0] = static_cast<std::byte>(communicator.rank());
    std::vector<std::byte> all(length * static_cast<std::size_t>(communicator.size()));
    communicator.all_gather(block, all);
    for (int r = 0; r < communicator.size(); ++r) {
      if (length > 0) block[0] = static_cast<std::byte>(r);
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(length) * r;
      ASSERT_TRUE(std::equal(block.begin(), block.end(), begin))
          << "block of rank " << r << ", length " << length;
    }
  }
}

inline void gathers_values_and_strings(Communicator& communicator) {
  const std::vector<int> squares = all_gather_value(communicator, communicator.rank() * communicator.rank());
  const std::vector<std::string> strings =
      all_gather_strings(communicator, std::string(static_cast<std::size_t>(communicator.rank()) * 3, 'x'));
  ASSERT_EQ(squares.size(), static_cast<std::size_t>(communicator.size()));
  ASSERT_EQ(strings.size(), squares.size());
  for (int r = 0; r < communicator.size(); ++r) {
    EXPECT_EQ(squares[static_cast<std::size_t>(r)], r * r);
    EXPECT_EQ(strings[static_cast<std::size_t>(r)], std::string(static_cast<std::size_t>(r) * 3, 'x'));
  }
  for (const std::string& empty : all_gather_strings(communicator, "")) EXPECT_EQ(empty, "");
}

// Operations of all kinds in a long row, without anything that keeps the ranks in step.
inline void survives_many_operations(Communicator& communicator) {
  for (std::size_t turn = 0; turn < 500; ++turn) {
    std::vector<float> values = values_of_rank(communicator.rank(), turn % 40);
    communicator.all_reduce_sum(values);
    expect_equal_bits(values, sum_in_rank_order(communicator.size(), turn % 40));
    if (turn % 7 == 0) communicator.barrier();
    std::vector<std::byte> message = message_of(communicator.is_leader() ? turn : 0);
    communicator.broadcast(message);
    ASSERT_EQ(message, message_of(turn));
  }
}

// `arrived` is the same for all ranks.
inline void barrier_waits_for_the_last(Communicator& communicator, std::atomic<int>& arrived) {
  for (int turn = 1; turn <= 50; ++turn) {
    ++arrived;
    communicator.barrier();
    EXPECT_GE(arrived.load(), communicator.size() * turn);
    communicator.barrier();
  }
}

inline void refuses_a_result_of_the_wrong_length(Communicator& communicator) {
  std::vector<std::byte> all(static_cast<std::size_t>(communicator.size()) * 4 + 1);
  EXPECT_THROW(communicator.all_gather(message_of(4), all), std::invalid_argument);
}

}  // namespace sinkstream::contract
