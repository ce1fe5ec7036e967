#include "text/unicode/normal_form.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

// ICU puts marks in order by insertion; beyond this many in a row they are sorted before it sees them.
constexpr std::size_t kLongRun = 64;

// The `tokenizers` library normalizes as Unicode 9 does: characters that came later stay as they are.
class Unicode9Normalizers {
 public:
  Unicode9Normalizers() : known_(u"[:age=9.0:]", error_) {
    known_.freeze();
    nfc_ = make(icu::Normalizer2::getNFCInstance(error_));
    nfd_ = make(icu::Normalizer2::getNFDInstance(error_));
    nfkc_ = make(icu::Normalizer2::getNFKCInstance(error_));
    nfkd_ = make(icu::Normalizer2::getNFKDInstance(error_));
  }

  const icu::Normalizer2& operator[](NormalForm form) const {
    switch (form) {
      case NormalForm::nfc:
        return *nfc_;
      case NormalForm::nfd:
        return *nfd_;
      case NormalForm::nfkc:
        return *nfkc_;
      case NormalForm::nfkd:
        break;
    }
    return *nfkd_;
  }

 private:
  std::unique_ptr<const icu::Normalizer2> make(const icu::Normalizer2* normalizer) const {
    if (U_FAILURE(error_)) {
      throw std::runtime_error(std::string("ICU has no data to normalize with: ") + u_errorName(error_));
    }
    return std::make_unique<icu::FilteredNormalizer2>(*normalizer, known_);
  }

  UErrorCode error_ = U_ZERO_ERROR;
  icu::UnicodeSet known_;
  std::unique_ptr<const icu::Normalizer2> nfc_, nfd_, nfkc_, nfkd_;
};

const icu::Normalizer2& normalizer_of(NormalForm form) {
  static const Unicode9Normalizers normalizers;
  return normalizers[form];
}

struct Mark {
  char32_t code_point;
  std::uint8_t combining_class;
};

void append_decomposed(std::vector<Mark>& marks, char32_t code_point, const icu::Normalizer2& nfd) {
  icu::UnicodeString decomposition;
  if (!nfd.getDecomposition(static_cast<UChar32>(code_point), decomposition)) {
    decomposition = static_cast<UChar32>(code_point);
  }
  for (int32_t i = 0; i < decomposition.length(); i = decomposition.moveIndex32(i, 1)) {
    const UChar32 part = decomposition.char32At(i);
    marks.push_back({static_cast<char32_t>(part), nfd.getCombiningClass(part)});
  }
}

void append_in_order(std::string& text, std::string_view run, const icu::Normalizer2& nfd) {
  std::vector<Mark> marks;
  for (std::size_t at = 0; at < run.size();) append_decomposed(marks, next_character(run, at), nfd);
  std::stable_sort(marks.begin(), marks.end(),
                   [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
  for (const Mark& mark : marks) append_utf8(text, mark.code_point);
}

// Canonically the same text, its long runs of combining marks decomposed and in order.
std::string with_long_runs_in_order(std::string_view text) {
  const icu::Normalizer2& nfd = normalizer_of(NormalForm::nfd);
  std::string ordered;
  ordered.reserve(text.size());
  std::size_t run_begin = 0;
  std::size_t run_length = 0;
  const auto end_run = [&](std::size_t end) {
    const std::string_view run = text.substr(run_begin, end - run_begin);
    if (run_length > kLongRun) {
      append_in_order(ordered, run, nfd);
    } else {
      ordered += run;
    }
    run_length = 0;
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t code_point = next_character(text, at);
    if (code_point >= 0x300 && nfd.getCombiningClass(static_cast<UChar32>(code_point)) != 0) {
      if (run_length++ == 0) run_begin = begin;
      continue;
    }
    if (run_length > 0) end_run(begin);
    ordered += text.substr(begin, at - begin);
  }
  if (run_length > 0) end_run(text.size());
  return ordered;
}

bool has_long_run(std::string_view text) {
  std::size_t run_length = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t code_point = next_character(text, at);
    const bool is_mark = code_point >= 0x300 && u_getCombiningClass(static_cast<UChar32>(code_point)) != 0;
    run_length = is_mark ? run_length + 1 : 0;
    if (run_length > kLongRun) return true;
  }
  return false;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<std::uint8_t>(c) < 0x80; });
}

}  // namespace

std::string normalize(std::string text, NormalForm form) {
  if (is_ascii(text)) return text;
  const icu::Normalizer2& normalizer = normalizer_of(form);
  UErrorCode error = U_ZERO_ERROR;
  const auto view = [](const std::string& s) {
    return icu::StringPiece(s.data(), static_cast<int32_t>(s.size()));
  };
  if (text.size() > INT32_MAX / 4) throw std::runtime_error("the text is too long to normalize");
  if (has_long_run(text)) text = with_long_runs_in_order(text);  // also asking ICU takes long without
  if (normalizer.isNormalizedUTF8(view(text), error) && U_SUCCESS(error)) return text;
  error = U_ZERO_ERROR;
  std::string result;
  result.reserve(text.size());
  icu::StringByteSink<std::string> sink(&result);
  normalizer.normalizeUTF8(0, view(text), sink, nullptr, error);
  if (U_FAILURE(error)) throw std::runtime_error(std::string("ICU cannot normalize: ") + u_errorName(error));
  return result;
}

}  // namespace sinkstream
