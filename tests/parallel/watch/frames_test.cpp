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

std::string with_length(std::size_t length, const std::string& frame) {
  return std::string{static_cast<char>(length & 0xff), static_cast<char>(length >> 8)} + frame;
}

// `body` behind its kind, with the right length.
std::string raw_frame(char kind, const std::string& body) {
  return with_length(1 + body.size(), kind + body);
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
  EXPECT_EQ(encode(Goodbye{}), std::string("\1\0\3", 3));
  EXPECT_EQ(encode(Lost{"ab"}), std::string("\7\0\5\2\0\0\0ab", 9));
}

TEST(Frames, LongTextsAreCut) {
  const auto read = [](const Frame& frame) {
    const std::string bytes = encode(frame);
    EXPECT_EQ(bytes.size(), 2 + kMaxFrame);
    FrameReader reader;
    reader.append(bytes);
    return reader.next().value();
  };
  const std::string text(100'000, 'x');
  EXPECT_EQ(std::get<Lost>(read(Lost{text})).message, text.substr(0, kMaxFrame - 5));
  const auto report = std::get<RankReport>(read(RankReport{.progress = 7, .what = text}));
  EXPECT_EQ(report.what, text.substr(0, kMaxFrame - 46));
  EXPECT_EQ(report.progress, 7U);
}

TEST(Frames, MalformedOnesBreakTheReader) {
  const std::string good = encode(Goodbye{});
  for (const std::string& bad : {
           with_length(0, ""),                          // without even a kind
           raw_frame(6, ""),                            // no such kind
           raw_frame('\xff', ""),                       //
           with_length(kMaxFrame + 1, ""),              // longer than any
           with_length(0xffff, ""),                     //
           raw_frame(3, "x"),                           // a goodbye with something in it
           raw_frame(0, std::string(35, 'x')),          // a hello too short
           raw_frame(0, std::string(37, 'x')),          // and too long
           raw_frame(2, std::string(44, '\0')),         // a report too short
           raw_frame(2, "\3" + std::string(44, 0)),     // in a state that does not exist
           raw_frame(5, std::string("\3\0\0\0ab", 6)),  // a text longer than its frame
           raw_frame(5, std::string("\1\0\0\0ab", 6)),  // and shorter
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
