#include "parallel/watch/frames.h"

#include <gtest/gtest.h>

#include <random>

namespace sinkstream::watch {
namespace {

std::vector<Frame> one_of_each() {
  Hello hello{.token = {}, .rank = 0x01020304};
  for (std::size_t i = 0; i < hello.token.size(); ++i) hello.token[i] = static_cast<char>(i * 9);
  const RankReport report{.state = RankState::waiting,
                          .step = ~std::uint64_t{0},
                          .progress = 1U << 31,
                          .collectives = 3,
                          .collective_microseconds = std::uint64_t{1} << 63,
                          .starved_milliseconds = 4711,
                          .what = "a sum over ranks"};
  return {hello, Welcome{}, report, RankReport{}, Goodbye{}, Drain{}, Lost{"rank 1 died"}, Lost{""}};
}

std::string encode_all(const std::vector<Frame>& frames) {
  std::string bytes;
  for (const Frame& frame : frames) bytes += encode(frame);
  return bytes;
}

std::vector<Frame> read_all(FrameReader& reader) {
  std::vector<Frame> frames;
  while (auto frame = reader.next()) frames.push_back(*frame);
  return frames;
}

std::string raw_frame(std::size_t length, int kind, std::string payload) {
  return std::string{static_cast<char>(length & 0xff), static_cast<char>(length >> 8),
                     static_cast<char>(kind)} +
         payload;
}

TEST(Frames, ComeBackAsTheyWere) {
  FrameReader reader;
  reader.append(encode_all(one_of_each()));
  EXPECT_EQ(read_all(reader), one_of_each());
  EXPECT_FALSE(reader.broken());
}

TEST(Frames, MayComeInPiecesOfAnySize) {
  const std::string bytes = encode_all(one_of_each());
  for (const std::size_t piece : {1, 2, 3, 7, 50}) {
    FrameReader reader;
    std::vector<Frame> frames;
    for (std::size_t begin = 0; begin < bytes.size(); begin += piece) {
      reader.append(std::string_view(bytes).substr(begin, piece));
      for (const Frame& frame : read_all(reader)) frames.push_back(frame);
    }
    EXPECT_EQ(frames, one_of_each()) << "pieces of " << piece;
  }
}

TEST(Frames, LayoutIsFixed) {
  EXPECT_EQ(encode(Goodbye{}), std::string("\0\0\3", 3));
  EXPECT_EQ(encode(Lost{"ab"}), std::string("\2\0\5ab", 5));
}

TEST(Frames, LongTextsAreCut) {
  FrameReader reader;
  reader.append(encode(Lost{std::string(100000, 'x')}));
  const auto frame = reader.next();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(std::get<Lost>(*frame).message, std::string(kMaxPayload, 'x'));
}

TEST(Frames, MalformedOnesBreakTheReader) {
  const std::string good = encode(Goodbye{});
  for (const std::string& bad : {
           raw_frame(0, 6, ""),                         // no such kind
           raw_frame(0, 255, ""),                       //
           raw_frame(kMaxPayload + 1, 5, ""),           // longer than any
           raw_frame(0xffff, 5, ""),                    //
           raw_frame(1, 3, "x"),                        // a goodbye with a payload
           raw_frame(35, 0, std::string(35, 'x')),      // a hello too short
           raw_frame(37, 0, std::string(37, 'x')),      // and too long
           raw_frame(32, 2, std::string(32, '\0')),     // a report too short
           raw_frame(33, 2, "\3" + std::string(32, 0))  // in a state that does not exist
       }) {
    FrameReader reader;
    reader.append(good + bad + good);
    EXPECT_EQ(read_all(reader).size(), 1U) << "what came before still counts";
    EXPECT_TRUE(reader.broken());
    reader.append(good);
    EXPECT_FALSE(reader.next().has_value()) << "nothing comes after it";
  }
}

TEST(Frames, RandomBytesNeverDoMoreThanBreakTheReader) {
  std::mt19937 random(7);
  for (int turn = 0; turn < 2000; ++turn) {
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    FrameReader reader;
    reader.append(bytes);
    EXPECT_LE(read_all(reader).size(), bytes.size() / 3);
  }
}

}  // namespace
}  // namespace sinkstream::watch
