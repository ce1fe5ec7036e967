#include "text/tokenizer/steps/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer/steps/byte_level.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

using Span = Pieces::Span;

void find_characters(bool (*matches)(char32_t), std::string_view text, std::size_t base,
                     std::vector<Stretch>& stretches) {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (!matches(next_character(text, at))) continue;
    if (begin > done) stretches.push_back({base + done, base + begin, false});
    stretches.push_back({base + begin, base + at, true});
    done = at;
  }
  if (done < text.size()) stretches.push_back({base + done, base + text.size(), false});
}

// The span of a stretch grows by its neighbour where `joins(match, whether the one before it was a match)`.
template <typename Stretches, typename Joins, typename Grow>
void fold(const Stretches& stretches, Joins joins, Grow grow, std::vector<Span>& spans) {
  const std::size_t first = spans.size();
  bool previous = false;
  for (const Stretch& stretch : stretches) {
    if (joins(stretch.match, previous) && spans.size() > first) {
      grow(spans.back(), stretch);
    } else {
      spans.push_back({stretch.begin, stretch.end});
    }
    previous = stretch.match;
  }
}

struct Backwards {
  const std::vector<Stretch>& stretches;
  auto begin() const { return stretches.rbegin(); }
  auto end() const { return stretches.rend(); }
};

void append_spans(const std::vector<Stretch>& stretches, SplitBehavior behavior, std::vector<Span>& spans) {
  const auto extend_end = [](Span& span, const Stretch& stretch) { span.end = stretch.end; };
  const auto extend_begin = [](Span& span, const Stretch& stretch) { span.begin = stretch.begin; };
  const auto first_of_matches = [](bool match, bool previous) { return match && !previous; };
  const std::size_t first = spans.size();
  switch (behavior) {
    case SplitBehavior::removed:
      for (const Stretch& stretch : stretches) {
        if (!stretch.match) spans.push_back({stretch.begin, stretch.end});
      }
      break;
    case SplitBehavior::isolated:
      for (const Stretch& stretch : stretches) spans.push_back({stretch.begin, stretch.end});
      break;
    case SplitBehavior::contiguous:
      fold(
          stretches, [](bool match, bool previous) { return match == previous; }, extend_end, spans);
      break;
    case SplitBehavior::merged_with_previous:
      fold(stretches, first_of_matches, extend_end, spans);
      break;
    case SplitBehavior::merged_with_next:
      fold(Backwards{stretches}, first_of_matches, extend_begin, spans);
      std::reverse(spans.begin() + static_cast<std::ptrdiff_t>(first), spans.end());
      break;
  }
  const auto is_empty = [](const Span& span) { return span.begin == span.end; };
  spans.erase(std::remove_if(spans.begin() + static_cast<std::ptrdiff_t>(first), spans.end(), is_empty),
              spans.end());
}

}  // namespace

class PieceCutter {
 public:
  PieceCutter(Pieces& pieces, bool begins_text) : pieces_(pieces), begins_text_(begins_text) {}

  void apply(const SplitStep& step) {
    cut(step.behavior, step.invert, [&step](std::string_view piece, std::size_t base, auto& stretches) {
      step.pattern.find(piece, base, stretches);
    });
  }

  void apply(const CharacterSplitStep& step) {
    cut(step.behavior, false, [&step](std::string_view piece, std::size_t base, auto& stretches) {
      find_characters(step.matches, piece, base, stretches);
    });
  }

  void apply(const FixedLengthStep& step) {
    cut(SplitBehavior::isolated, false, [&](std::string_view piece, std::size_t base, auto& stretches) {
      for (std::size_t at = 0; at < piece.size();) {
        const std::size_t begin = at;
        for (std::size_t i = 0; i < step.characters && at < piece.size(); ++i) next_character(piece, at);
        stretches.push_back({base + begin, base + at, false});
      }
    });
  }

  void apply(const ByteLevelStep& step) {
    apply_before_alphabet(step);
    rewrite([](std::string_view piece, bool, std::string& text) { append_byte_level(piece, text); });
  }

  void apply_before_alphabet(const ByteLevelStep& step) {
    const auto lacks_space = [this](const Span& span) { return pieces_.text[span.begin] != ' '; };
    if (step.add_prefix_space && std::any_of(pieces_.spans.begin(), pieces_.spans.end(), lacks_space)) {
      rewrite([](std::string_view piece, bool, std::string& text) {
        if (!piece.starts_with(' ')) text += ' ';
        text += piece;
      });
    }
    if (step.pattern) apply_isolated(*step.pattern);
  }

  void apply(const MetaspaceStep& step) {
    rewrite([&step](std::string_view piece, bool is_first, std::string& text) {
      const bool begins_with_it = piece.starts_with(' ') || piece.starts_with(step.replacement);
      const bool wanted =
          step.prepend == PrependScheme::always || (step.prepend == PrependScheme::first && is_first);
      if (wanted && !begins_with_it) text += step.replacement;
      for (const char c : piece) {
        if (c == ' ') {
          text += step.replacement;
        } else {
          text += c;
        }
      }
    });
    if (!step.split) return;
    cut(SplitBehavior::merged_with_next, false,
        [&step](std::string_view piece, std::size_t base, auto& stretches) {
          step.pattern.find(piece, base, stretches);
        });
  }

 private:
  void apply_isolated(const TextPattern& pattern) {
    cut(SplitBehavior::isolated, false,
        [&pattern](std::string_view piece, std::size_t base, auto& stretches) {
          pattern.find(piece, base, stretches);
        });
  }

  void cut(SplitBehavior behavior, bool invert, auto find) {
    auto& spans = pieces_.next_spans_;
    spans.clear();
    for (const Span& span : pieces_.spans) {
      auto& stretches = pieces_.stretches_;
      stretches.clear();
      find(pieces_.text.substr(span.begin, span.end - span.begin), span.begin, stretches);
      if (invert) {
        for (Stretch& stretch : stretches) stretch.match = !stretch.match;
      }
      append_spans(stretches, behavior, spans);
    }
    if (begins_text_ && (spans.empty() || spans.front().begin != 0)) begins_text_ = false;
    pieces_.spans.swap(spans);
  }

  // `append(piece, whether it begins the text, new text)`.
  void rewrite(auto append) {
    std::string& text = pieces_.next_storage_;
    text.clear();
    text.reserve(pieces_.text.size() + pieces_.text.size() / 4);
    bool is_first = begins_text_;
    for (Span& span : pieces_.spans) {
      const std::size_t begin = text.size();
      append(pieces_.text.substr(span.begin, span.end - span.begin), is_first, text);
      span = {begin, text.size()};
      is_first = false;
    }
    pieces_.storage_.swap(text);
    pieces_.text = pieces_.storage_;
  }

  Pieces& pieces_;
  bool begins_text_;  // the first piece does
};

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps)
    : steps_(std::move(steps)),
      leaves_raw_bytes_(!steps_.empty() && std::holds_alternative<ByteLevelStep>(steps_.back())) {}

void PreTokenizer::run(std::string_view text, bool begins_text, Pieces& pieces) const {
  pieces.text = text;
  pieces.spans.clear();
  if (text.empty()) return;
  pieces.spans.push_back({0, text.size()});
  PieceCutter cutter(pieces, begins_text);
  for (const PreTokenizerStep& step : steps_) {
    if (&step == &steps_.back() && leaves_raw_bytes_) {
      cutter.apply_before_alphabet(std::get<ByteLevelStep>(step));
    } else {
      std::visit([&cutter](const auto& kind) { cutter.apply(kind); }, step);
    }
  }
}

std::string_view gpt2_pattern() {
  return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
}

}  // namespace sinkstream
