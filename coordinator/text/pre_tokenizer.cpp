#include "coordinator/text/pre_tokenizer.h"

#include "coordinator/text/byte_level.h"

namespace sinkstream {
namespace {

template <typename Visit>
void for_each_piece(const TextPieces& pieces, Visit visit) {
  std::size_t begin = 0;
  for (const std::size_t end : pieces.ends) {
    visit(std::string_view(pieces.text).substr(begin, end - begin), begin);
    begin = end;
  }
}

void cut(const TextPattern& pattern, TextPieces& pieces) {
  std::vector<std::size_t> ends;
  for_each_piece(pieces, [&](std::string_view piece, std::size_t begin) {
    pattern.append_piece_ends(piece, begin, ends);
  });
  pieces.ends = std::move(ends);
}

TextPieces rewrite(const TextPieces& pieces, auto append_rewritten) {
  TextPieces result;
  result.text.reserve(pieces.text.size() + pieces.text.size() / 4);
  for_each_piece(pieces, [&](std::string_view piece, std::size_t) {
    append_rewritten(piece, result.text);
    result.ends.push_back(result.text.size());
  });
  return result;
}

void apply(const SplitStep& step, TextPieces& pieces) {
  cut(step.pattern, pieces);
}

void apply(const ByteLevelStep& step, TextPieces& pieces) {
  if (step.add_prefix_space) {
    pieces = rewrite(pieces, [](std::string_view piece, std::string& text) {
      if (!piece.starts_with(' ')) text += ' ';
      text += piece;
    });
  }
  if (step.pattern) cut(*step.pattern, pieces);
  pieces = rewrite(pieces, append_byte_level);
}

}  // namespace

TextPieces PreTokenizer::run(std::string text) const {
  TextPieces pieces{std::move(text), {}};
  if (!pieces.text.empty()) pieces.ends.push_back(pieces.text.size());
  for (const PreTokenizerStep& step : steps_) {
    std::visit([&pieces](const auto& kind) { apply(kind, pieces); }, step);
  }
  return pieces;
}

std::string_view gpt2_pattern() {
  return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
}

}  // namespace sinkstream
