#include "base/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

namespace sinkstream::wire {
namespace {

enum class Color : std::uint8_t { red, green, blue };
constexpr Color last_value(Color) {
  return Color::blue;
}

struct Point {
  std::int16_t x = 0;
  std::int64_t y = 0;
  bool operator==(const Point&) const = default;
};
auto fields(Is<Point> auto& point) {
  auto& [x, y] = point;
  return std::tie(x, y);
}

struct Nothing {
  bool operator==(const Nothing&) const = default;
};
auto fields(Is<Nothing> auto&) {
  return std::tie();
}

struct Everything {
  bool flag = false;
  std::int8_t small = 0;
  std::uint16_t medium = 0;
  std::int32_t large = 0;
  std::uint64_t largest = 0;
  float single = 0;
  double exact = 0;
  std::byte byte{};
  Color color = Color::red;
  std::string text;
  std::array<char, 3> tag{};
  std::array<Point, 2> line{};
  std::pair<std::int32_t, float> pair;
  std::vector<std::int32_t> numbers;
  std::vector<Point> points;
  std::vector<std::string> texts;
  std::vector<std::vector<std::uint8_t>> lists;
  std::optional<Point> maybe;
  std::optional<std::optional<bool>> perhaps;
  std::variant<Nothing, std::string, Point> one_of;
  bool operator==(const Everything&) const = default;
};
auto fields(Is<Everything> auto& all) {
  auto& [flag, small, medium, large, largest, single, exact, byte, color, text, tag, line, pair, numbers,
         points, texts, lists, maybe, perhaps, one_of] = all;
  return std::tie(flag, small, medium, large, largest, single, exact, byte, color, text, tag, line, pair,
                  numbers, points, texts, lists, maybe, perhaps, one_of);
}

Everything example() {
  return {.flag = true,
          .small = -1,
          .medium = 0x0102,
          .large = -2,
          .largest = 0x0102030405060708,
          .single = 1.5f,
          .exact = -0.0,
          .byte = std::byte{0xfe},
          .color = Color::blue,
          .text = std::string("a\0b", 3),
          .tag = {'x', 'y', 'z'},
          .line = {Point{1, 2}, Point{-1, -2}},
          .pair = {7, -1.0f},
          .numbers = {1, -1},
          .points = {{3, 4}, {5, 6}},
          .texts = {"", "c"},
          .lists = {{9}, {}},
          .maybe = Point{7, 8},
          .perhaps = std::optional<bool>(),
          .one_of = std::string("d")};
}

// What example() is on the wire, written out by hand.
std::vector<std::byte> example_bytes() {
  const std::vector<std::vector<int>> parts = {{1},                             // flag
                                               {0xff},                          // small
                                               {2, 1},                          // medium
                                               {0xfe, 0xff, 0xff, 0xff},        // large
                                               {8, 7, 6, 5, 4, 3, 2, 1},        // largest
                                               {0, 0, 0xc0, 0x3f},              // single
                                               {0, 0, 0, 0, 0, 0, 0, 0x80},     // exact
                                               {0xfe},                          // byte
                                               {2},                             // color
                                               {3, 0, 0, 0, 'a', 0, 'b'},       // text
                                               {'x', 'y', 'z'},                 // tag
                                               {1, 0, 2, 0, 0, 0, 0, 0, 0, 0},  // line
                                               {0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                               {7, 0, 0, 0, 0, 0, 0x80, 0xbf},                    // pair
                                               {2, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},  // numbers
                                               {2, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0},        // points
                                               {5, 0, 6, 0, 0, 0, 0, 0, 0, 0},
                                               {2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'c'},  // texts
                                               {2, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0},    // lists
                                               {1, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0},          // maybe
                                               {1, 0},                                     // perhaps
                                               {1, 1, 0, 0, 0, 'd'}};                      // one_of
  std::vector<std::byte> bytes;
  for (const auto& part : parts) {
    for (const int value : part) bytes.push_back(static_cast<std::byte>(value));
  }
  return bytes;
}

template <typename... Byte>
std::vector<std::byte> bytes(Byte... values) {
  return {static_cast<std::byte>(values)...};
}

// Why the bytes are no `Message`; empty where they are one.
template <typename Message>
std::string complaint(const std::vector<std::byte>& message) {
  try {
    decode<Message>(message);
    return {};
  } catch (const Malformed& error) {
    return error.what();
  }
}

TEST(Wire, BytesAreFixed) {
  EXPECT_EQ(encode(example()), example_bytes());
  EXPECT_EQ(decode<Everything>(example_bytes()), example());
}

TEST(Wire, EachKindComesBack) {
  EXPECT_EQ(decode<Everything>(encode(Everything{})), Everything{});
  const auto comes_back = [](const auto& value) {
    return decode<std::remove_cvref_t<decltype(value)>>(encode(value)) == value;
  };
  for (const auto value : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1}, std::int64_t{0},
                           std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_TRUE(comes_back(value)) << value;
  }
  for (const double value : {0.1, std::numbers::pi, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::denorm_min()}) {
    EXPECT_TRUE(comes_back(value)) << value;
  }
  for (const auto color : {Color::red, Color::green, Color::blue}) EXPECT_TRUE(comes_back(color));
  using OneOf = decltype(Everything::one_of);
  for (const OneOf& value : {OneOf(Nothing{}), OneOf("x"), OneOf(Point{1, 2})})
    EXPECT_TRUE(comes_back(value));
  EXPECT_TRUE(comes_back(std::vector<std::optional<Color>>{Color::green, std::nullopt}));
  EXPECT_TRUE(comes_back(std::string(100'000, 'x')));
  EXPECT_TRUE(comes_back(std::vector<Point>(100'000, Point{-3, 1LL << 40})));
  EXPECT_TRUE(comes_back(Nothing{}));
  EXPECT_TRUE(encode(Nothing{}).empty());
}

TEST(Wire, FloatsKeepTheirBits) {
  const auto odd_nan = std::bit_cast<float>(0x7fc12345U);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(decode<float>(encode(odd_nan))), 0x7fc12345U);
  EXPECT_TRUE(std::signbit(decode<double>(encode(-0.0))));
}

TEST(Wire, ReadingReplacesWhatWasThere) {
  Everything value = example();
  const auto message = encode(Everything{});
  Reader(message).get(value);
  EXPECT_EQ(value, Everything{});
}

TEST(Wire, SeveralValuesFollowOneAnother) {
  const auto message = encode(std::uint16_t{0x0102}, true, std::string("ab"));
  EXPECT_EQ(message, bytes(2, 1, 1, 2, 0, 0, 0, 'a', 'b'));
  Reader in(message);
  EXPECT_EQ(in.get<std::uint16_t>(), 0x0102);
  EXPECT_TRUE(in.get<bool>());
  EXPECT_THROW(in.expect_end(), Malformed);
  EXPECT_EQ(in.get<std::string>(), "ab");
  in.expect_end();
}

TEST(Wire, EveryTruncationIsRefused) {
  const auto whole = example_bytes();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(complaint<Everything>({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}), "")
        << length;
  }
  EXPECT_EQ(complaint<std::uint32_t>(bytes(1, 2, 3)), "it is cut short");
  EXPECT_EQ(complaint<std::string>(bytes(1, 0, 0)), "it is cut short");
}

TEST(Wire, WhatIsLeftOverIsRefused) {
  auto message = example_bytes();
  message.push_back({});
  EXPECT_EQ(complaint<Everything>(message), "bytes are left over");
  EXPECT_EQ(complaint<Nothing>(bytes(0)), "bytes are left over");
}

TEST(Wire, FlagsAreZeroOrOne) {
  for (const int value : {2, 3, 0x80, 0xff}) {
    EXPECT_EQ(complaint<bool>(bytes(value)), "a flag is neither 0 nor 1") << value;
    EXPECT_EQ(complaint<std::optional<std::uint8_t>>(bytes(value, 7)), "a flag is neither 0 nor 1") << value;
  }
}

TEST(Wire, KindsAreKnown) {
  for (const int value : {3, 4, 0x80, 0xff}) {
    EXPECT_EQ(complaint<Color>(bytes(value)), "a kind is unknown") << value;
    EXPECT_EQ((complaint<std::variant<Nothing, Point, bool>>(bytes(value))), "a kind is unknown") << value;
  }
}

// Counts beyond what the rest of the message could hold: nothing is allocated for them.
TEST(Wire, CountsFitTheMessage) {
  const auto too_many = testing::StrEq("a count is larger than the message");
  EXPECT_THAT(complaint<std::string>(bytes(3, 0, 0, 0, 'a', 'b')), too_many);
  EXPECT_THAT(complaint<std::vector<std::uint8_t>>(bytes(0xff, 0xff, 0xff, 0xff, 1)), too_many);
  EXPECT_THAT(complaint<std::vector<std::uint32_t>>(bytes(2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7)), too_many);
  EXPECT_THAT(complaint<std::vector<Point>>(bytes(1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)), too_many);
  EXPECT_THAT(complaint<std::vector<std::string>>(bytes(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)), too_many);
  EXPECT_THAT((complaint<std::vector<std::pair<bool, Color>>>(bytes(2, 0, 0, 0, 1, 1, 1))), too_many);
  EXPECT_THAT((complaint<std::vector<std::array<bool, 3>>>(bytes(2, 0, 0, 0, 1, 1, 1, 1, 1))), too_many);
  EXPECT_THAT((complaint<std::vector<std::variant<Point, bool>>>(bytes(2, 0, 0, 0, 1, 1, 1))), too_many);
}

TEST(Wire, TheFewestBytesOfAKind) {
  EXPECT_EQ(kLeast<double>, 8U);
  EXPECT_EQ(kLeast<Color>, 1U);
  EXPECT_EQ(kLeast<Point>, 10U);
  EXPECT_EQ(kLeast<std::string>, 4U);
  EXPECT_EQ(kLeast<std::optional<Point>>, 1U);
  EXPECT_EQ((kLeast<std::variant<Point, std::string>>), 5U);
  EXPECT_EQ((kLeast<std::array<Point, 3>>), 30U);
  EXPECT_EQ(kLeast<Everything>, encode(Everything{}).size());
}

TEST(Wire, DamageIsRefusedOrGivesAValidMessage) {
  const auto whole = example_bytes();
  std::mt19937 random(3);
  for (int round = 0; round < 20'000; ++round) {
    auto message = whole;
    for (int changes = 0; changes < 2; ++changes) {
      message[random() % message.size()] = static_cast<std::byte>(random());
    }
    try {
      EXPECT_EQ(encode(decode<Everything>(message)), message);
    } catch (const Malformed&) {
    }
  }
}

}  // namespace
}  // namespace sinkstream::wire
