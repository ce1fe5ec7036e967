#include "base/stand_in.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "base/error.h"

namespace sinkstream {
namespace {

constexpr std::size_t kMaxQuoted = 80;

struct Signature {
  std::string_view begins_with;
  std::string_view complaint;
};

constexpr std::string_view kLfsAdvice =
    "a Git LFS pointer, not the file it stands for; run \"git lfs install\" and \"git lfs pull\" in the "
    "model's "
    "directory, or download the file again";

// Compared byte for byte.
constexpr Signature kExact[] = {
    {"version https://git-lfs.github.com/spec/", kLfsAdvice},
    {"version https://hawser.github.com/spec/", kLfsAdvice},
    {"# xet version ", "an Xet pointer, not the file it stands for; download the file again"},
    {"/annex/objects/", "a git-annex pointer, not the file it stands for; run \"git annex get\" on it"},
    {"GGUF", "a GGUF file; those are not read, use the original checkpoint in safetensors"},
    {std::string_view("PK\3\4", 4), "a zip archive (as PyTorch's pickle files are); a plain file is needed"},
    {"\x1f\x8b", "a gzip archive; unpack it"},
    {"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it"},
    {std::string_view("\0\0\0\0\0\0\0\0", 8),
     "begins with zero bytes, as an interrupted download does; download it again"},
};

// What servers answer instead of a file; compared without case, behind white space.
constexpr std::string_view kErrorTexts[] = {
    "entry not found",
    "repository not found",
    "access to model",
    "access denied",
    "invalid username or password",
    "not found",
    "404: not found",
    "invalid credentials",
    "unauthorized",
    "forbidden",
    "bad gateway",
    "service unavailable",
    "{\"error\":",
    "{\"message\":",
};

std::string lower_beginning(std::string_view content) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  constexpr std::size_t kEnough = 64;
  if (content.starts_with(kByteOrderMark)) content.remove_prefix(kByteOrderMark.size());
  const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
  const auto* const begin = std::ranges::find_if_not(content, is_space);
  std::string text(begin,
                   std::min(content.end(), begin + std::min<std::ptrdiff_t>(content.end() - begin, kEnough)));
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string quote(std::string_view content) {
  std::string text(content.substr(0, kMaxQuoted));
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, ' ');
  return '"' + text + (content.size() > kMaxQuoted ? "...\"" : "\"");
}

std::optional<std::string> complaint_of(std::string_view content) {
  for (const Signature& signature : kExact) {
    if (content.starts_with(signature.begins_with)) return std::string(signature.complaint);
  }
  const std::string beginning = lower_beginning(content);
  if (beginning.starts_with("<!doctype") || beginning.starts_with("<html") ||
      beginning.starts_with("<?xml")) {
    return "a web page, as a failed download leaves; download the file again (with your access token where "
           "the model is gated)";
  }
  for (const std::string_view text : kErrorTexts) {
    if (beginning.starts_with(text)) {
      return "a server's answer, not the file: " + quote(content) +
             "; download the file again (with your access token where the model is gated)";
    }
  }
  return std::nullopt;
}

}  // namespace

void refuse_stand_in(std::string_view content, const std::filesystem::path& file) {
  const auto complaint = complaint_of(content);
  if (complaint) throw StartupError(ExitCode::model, file.string() + ": " + *complaint);
  const std::string extension = file.extension().string();
  if (content.empty() && (extension == ".json" || extension == ".safetensors")) {
    throw StartupError(ExitCode::model,
                       file.string() + ": is empty, as an interrupted download leaves it; download it again");
  }
}

std::string json_complaint(const std::string& parser_message) {
  const auto says = [&](const char* words) { return parser_message.find(words) != std::string::npos; };
  const bool ends_early = says("unexpected end of input") || says("missing closing quote");
  return "not valid JSON" +
         std::string(ends_early ? " (it ends in the middle; is the download complete?)" : "") + ": " +
         parser_message;
}

}  // namespace sinkstream
