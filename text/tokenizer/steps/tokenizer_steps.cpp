#include "text/tokenizer/steps/tokenizer_steps.h"

#include <algorithm>
#include <stdexcept>

#include "text/unicode/character_class.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

constexpr int kMaxDepth = 16;  // of sequences in sequences; each takes two of the 64 levels of a JSON file

void check_depth(const JsonField& field, int depth) {
  if (depth > kMaxDepth)
    field.fail("has more than " + std::to_string(kMaxDepth) + " sequences in each other");
}

char32_t read_character(const JsonField& field) {
  const std::string& text = field.string();
  if (text.empty() || first_character(text).length != text.size()) field.fail("must be one character");
  return first_character(text).code_point;
}

std::size_t read_count(const JsonField& field) {
  constexpr std::int64_t kMax = 1 << 20;
  const std::int64_t count = field.integer();
  if (count < 0 || count > kMax) field.fail("must be from 0 to " + std::to_string(kMax));
  return static_cast<std::size_t>(count);
}

// {"String": ".."} or {"Regex": ".."}.
TextPattern read_pattern(const JsonField& field) {
  const JsonField regex = field["Regex"];
  const JsonField literal = field["String"];
  try {
    if (!regex.is_null()) return TextPattern::regex(regex.string());
    if (!literal.is_null()) return TextPattern::literal(literal.string());
  } catch (const std::invalid_argument& error) {
    field.fail(error.what());
  }
  field.fail("must have \"Regex\" or \"String\"");
}

// ---- normalizer

void read_normalizer(const JsonField& field, int depth, std::vector<NormalizerStep>& steps) {
  check_depth(field, depth);
  const std::string type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& part : field["normalizers"].elements()) read_normalizer(part, depth + 1, steps);
  } else if (type == "NFC") {
    steps.emplace_back(NormalForm::nfc);
  } else if (type == "NFD") {
    steps.emplace_back(NormalForm::nfd);
  } else if (type == "NFKC") {
    steps.emplace_back(NormalForm::nfkc);
  } else if (type == "NFKD") {
    steps.emplace_back(NormalForm::nfkd);
  } else if (type == "Prepend") {
    steps.emplace_back(PrependStep{field["prepend"].string()});
  } else if (type == "Replace") {
    steps.emplace_back(ReplaceStep{read_pattern(field["pattern"]), field["content"].string()});
  } else if (type == "Strip") {
    steps.emplace_back(
        StripSpaceStep{field["strip_left"].boolean_or(true), field["strip_right"].boolean_or(true)});
  } else if (type == "Lowercase") {
    steps.emplace_back(LowercaseStep{});
  } else if (type == "StripAccents") {
    steps.emplace_back(StripAccentsStep{});
  } else if (type == "Nmt") {
    steps.emplace_back(CleanControlsStep{});
  } else if (type == "ByteLevel") {
    steps.emplace_back(ByteAlphabetStep{});
  } else {
    field["type"].not_supported("\"" + type +
                                "\" (Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Lowercase, "
                                "StripAccents, Nmt and ByteLevel are)");
  }
}

// ---- pre-tokenizer

SplitBehavior read_behavior(const JsonField& field) {
  const std::string& name = field.string();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  field.not_supported("\"" + name +
                      "\" (Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous are)");
}

PrependScheme read_prepend_scheme(const JsonField& field) {
  const JsonField scheme = field["prepend_scheme"];
  const bool old_prefix = field["add_prefix_space"].boolean_or(true);
  const std::string name = scheme.string_or(old_prefix ? "always" : "never");
  if (!old_prefix && name != "never") scheme.fail("\"" + name + "\" contradicts \"add_prefix_space\": false");
  if (name == "always") return PrependScheme::always;
  if (name == "first") return PrependScheme::first;
  if (name == "never") return PrependScheme::never;
  scheme.not_supported("\"" + name + "\" (always, first and never are)");
}

MetaspaceStep read_metaspace_step(const JsonField& field) {
  const JsonField replacement = field["replacement"];
  read_character(replacement);
  return {replacement.string(), read_prepend_scheme(field), field["split"].boolean_or(true),
          TextPattern::literal(replacement.string())};
}

ByteLevelStep read_byte_level_step(const JsonField& field) {
  ByteLevelStep step{field["add_prefix_space"].boolean_or(true), std::nullopt};
  if (field["use_regex"].boolean_or(true)) step.pattern = TextPattern::regex(gpt2_pattern());
  return step;
}

// Words and what stands between them, without white space. As Rust's regular expressions have it, words
// contain joiners but no fractions or powers.
SplitStep whitespace_step() {
  const std::string word = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200C\\u200D";
  return {TextPattern::regex("[" + word + "]+|[^" + word + "\\s]+"), SplitBehavior::removed, /*invert=*/true};
}

FixedLengthStep read_fixed_length_step(const JsonField& field) {
  const JsonField length = field["length"];
  const std::size_t characters = length.is_null() ? 5 : read_count(length);
  if (characters == 0) length.fail("must not be 0");
  return {characters};
}

void read_pre_tokenizer(const JsonField& field, int depth, std::vector<PreTokenizerStep>& steps) {
  check_depth(field, depth);
  const std::string type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& part : field["pretokenizers"].elements())
      read_pre_tokenizer(part, depth + 1, steps);
  } else if (type == "Split") {
    steps.emplace_back(SplitStep{read_pattern(field["pattern"]), read_behavior(field["behavior"]),
                                 field["invert"].boolean_or(false)});
  } else if (type == "ByteLevel") {
    steps.emplace_back(read_byte_level_step(field));
  } else if (type == "Metaspace") {
    steps.emplace_back(read_metaspace_step(field));
  } else if (type == "Punctuation") {
    const JsonField behavior = field["behavior"];
    steps.emplace_back(CharacterSplitStep{
        is_punctuation, behavior.is_null() ? SplitBehavior::isolated : read_behavior(behavior)});
  } else if (type == "Digits") {
    const bool each = field["individual_digits"].boolean_or(false);
    steps.emplace_back(
        CharacterSplitStep{is_numeric, each ? SplitBehavior::isolated : SplitBehavior::contiguous});
  } else if (type == "Whitespace") {
    steps.emplace_back(whitespace_step());
  } else if (type == "WhitespaceSplit") {
    steps.emplace_back(CharacterSplitStep{is_white_space, SplitBehavior::removed});
  } else if (type == "CharDelimiterSplit") {
    read_character(field["delimiter"]);
    steps.emplace_back(
        SplitStep{TextPattern::literal(field["delimiter"].string()), SplitBehavior::removed, false});
  } else if (type == "FixedLength") {
    steps.emplace_back(read_fixed_length_step(field));
  } else {
    field["type"].not_supported("\"" + type +
                                "\" (Sequence, Split, ByteLevel, Metaspace, Punctuation, Digits, Whitespace, "
                                "WhitespaceSplit, CharDelimiterSplit and FixedLength are)");
  }
}

// ---- decoder

void read_decoder(const JsonField& field, int depth, std::vector<DecoderStep>& steps) {
  check_depth(field, depth);
  const std::string type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& part : field["decoders"].elements()) read_decoder(part, depth + 1, steps);
  } else if (type == "ByteLevel") {
    steps.emplace_back(ReadByteAlphabet{});
    steps.emplace_back(FuseBytes{});
  } else if (type == "Replace") {
    steps.emplace_back(ReplaceInTokens{read_pattern(field["pattern"]), field["content"].string()});
  } else if (type == "ByteFallback") {
    steps.emplace_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps.emplace_back(FuseTokens{});
  } else if (type == "Strip") {
    steps.emplace_back(
        StripTokens{read_character(field["content"]), read_count(field["start"]), read_count(field["stop"])});
  } else if (type == "Metaspace") {
    const bool strips = read_prepend_scheme(field) != PrependScheme::never;
    steps.emplace_back(ReadMetaspace{read_character(field["replacement"]), strips});
  } else {
    field["type"].not_supported(
        "\"" + type + "\" (Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip and Metaspace are)");
  }
}

}  // namespace

Normalizer read_normalizer(const JsonField& field) {
  std::vector<NormalizerStep> steps;
  if (!field.is_null()) read_normalizer(field, 0, steps);
  return Normalizer(std::move(steps));
}

PreTokenizer read_pre_tokenizer(const JsonField& field) {
  std::vector<PreTokenizerStep> steps;
  if (!field.is_null()) read_pre_tokenizer(field, 0, steps);
  return PreTokenizer(std::move(steps));
}

Decoder read_decoder(const JsonField& field) {
  std::vector<DecoderStep> steps;
  if (field.is_null()) {
    steps.emplace_back(JoinWithSpaces{});
  } else {
    read_decoder(field, 0, steps);
  }
  return Decoder(std::move(steps));
}

}  // namespace sinkstream
