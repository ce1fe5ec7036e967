#include "text/tokenizer/steps/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sinkstream {
namespace {

using ::testing::ElementsAre;

template <typename... Steps>
Decoder decoder_of(Steps... steps) {
  std::vector<DecoderStep> list;
  (list.emplace_back(std::move(steps)), ...);
  return Decoder(std::move(list));
}

Decoder llama() {
  return decoder_of(ReplaceInTokens{TextPattern::literal("▁"), " "}, ByteFallback{}, FuseTokens{},
                    StripTokens{U' ', 1, 0});
}

// What each token brings out, and the end.
std::vector<std::string> pieces(const Decoder& decoder, const std::vector<std::string>& tokens,
                                bool continues = false) {
  DecodeStream stream(decoder, continues);
  std::vector<std::string> result;
  for (const std::string& token : tokens) stream.push(decoder.prepare(token), result.emplace_back());
  stream.finish(result.emplace_back());
  return result;
}

std::string whole(const Decoder& decoder, const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& piece : pieces(decoder, tokens)) text += piece;
  return text;
}

TEST(DecoderTest, OnlyTheFirstSpaceIsStripped) {
  EXPECT_THAT(pieces(llama(), {"▁▁Hello", "▁world", "!"}), ElementsAre(" Hello", " world", "!", ""));
  EXPECT_THAT(pieces(llama(), {"▁", "▁", "x"}), ElementsAre("", " ", "x", ""));
  EXPECT_THAT(pieces(llama(), {"▁Hello"}, /*continues=*/true), ElementsAre(" Hello", ""));
}

TEST(DecoderTest, RunsOfBytesWaitForTheirEnd) {
  EXPECT_THAT(pieces(llama(), {"<0xE6>", "<0x97>", "<0xA5>", "a"}), ElementsAre("", "", "", "日a", ""));
  EXPECT_THAT(pieces(llama(), {"<0x41>", "<0x0A>"}), ElementsAre("", "", "A\n"));
  EXPECT_THAT(pieces(llama(), {"<0xE6>", "<0x97>", "a"}), ElementsAre("", "", "\uFFFD\uFFFDa", ""))
      << "one for each byte";
  EXPECT_EQ(whole(llama(), {"<0x41>", "<0xFF>", "b"}), "\uFFFD\uFFFDb") << "the whole run";
  EXPECT_EQ(whole(llama(), {"<0xe6>", "<0x97>", "<0xA5>"}), "日");
  EXPECT_EQ(whole(llama(), {"<0xG0>", "<0x1>", "<0x001>"}), "<0xG0><0x1><0x001>") << "no bytes";
}

TEST(DecoderTest, ByteLevelJoinsPartsOfCharacters) {
  const Decoder decoder = decoder_of(ReadByteAlphabet{}, FuseBytes{});
  EXPECT_THAT(pieces(decoder, {"ĠÃ", "©t", "Ã"}), ElementsAre(" ", "ét", "", "\uFFFD"));
  EXPECT_EQ(whole(decoder, {"Ġ日"}), "Ġ日")
      << "with a character outside the alphabet a name stands for itself";
}

TEST(DecoderTest, Metaspace) {
  EXPECT_EQ(whole(decoder_of(ReadMetaspace{U'▁', true}), {"▁a", "▁b▁"}), "a b ");
  EXPECT_EQ(whole(decoder_of(ReadMetaspace{U'▁', true}), {"▁a▁", "▁b"}), "a b") << "all in the first token";
  EXPECT_EQ(whole(decoder_of(ReadMetaspace{U'▁', false}), {"▁a", "▁b"}), " a b");
  EXPECT_THAT(pieces(decoder_of(ReadMetaspace{U'▁', true}), {"▁a"}, true), ElementsAre(" a", ""));
}

TEST(DecoderTest, NoDecoderJoinsWithSpaces) {
  EXPECT_THAT(pieces(decoder_of(JoinWithSpaces{}), {"a", "b"}), ElementsAre("a", " b", ""));
}

TEST(DecoderTest, StripWorksOnEachTokenUntilTheyAreFused) {
  EXPECT_EQ(whole(decoder_of(StripTokens{U'x', 1, 2}), {"xxaxxx", "xb"}), "xaxb");
  EXPECT_THAT(pieces(decoder_of(FuseTokens{}, StripTokens{U'x', 2, 1}), {"xx", "xa", "x", "x", "b", "xx"}),
              ElementsAre("", "xa", "", "x", "xb", "x", ""));
}

TEST(DecoderTest, ReplacingFusedTextHoldsBackWhatMayBecomeAMatch) {
  const Decoder decoder = decoder_of(FuseTokens{}, ReplaceInTokens{TextPattern::literal("aab"), "-"});
  EXPECT_THAT(pieces(decoder, {"xa", "a", "ab", "aa"}), ElementsAre("x", "", "a-", "", "aa"));
  const Decoder regex = decoder_of(FuseTokens{}, ReplaceInTokens{TextPattern::regex("a+"), "-"});
  EXPECT_THAT(pieces(regex, {"xa", "ab"}), ElementsAre("", "", "x-b"));
}

TEST(DecoderTest, ByteFallbackOfFusedTextIsThatOfOneToken) {
  const Decoder decoder = decoder_of(FuseTokens{}, ByteFallback{});
  EXPECT_EQ(whole(decoder, {"<0x", "41>"}), "A");
  EXPECT_EQ(whole(decoder, {"<0x41>", "b"}), "<0x41>b");
}

TEST(DecoderTest, BytesOfATokenInsideAText) {
  const auto bytes = [](const Decoder& decoder, std::string_view name) {
    return decoder.bytes_of(decoder.prepare(name));
  };
  EXPECT_EQ(bytes(llama(), "▁the"), " the");
  EXPECT_EQ(bytes(llama(), "<0xE6>"), "\xE6");
  EXPECT_EQ(bytes(decoder_of(ReadByteAlphabet{}, FuseBytes{}), "ĠÃ"), " \xC3");
  EXPECT_EQ(bytes(decoder_of(ReadMetaspace{U'▁', true}), "▁a"), " a");
}

}  // namespace
}  // namespace sinkstream
