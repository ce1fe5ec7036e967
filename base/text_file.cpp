#include "base/text_file.h"

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/stand_in.h"

namespace sinkstream {

std::optional<std::string> read_text_file(const std::filesystem::path& file, std::uintmax_t largest) {
  namespace fs = std::filesystem;
  const auto refuse = [&file](const std::string& reason) {
    throw StartupError(ExitCode::model, file.string() + ": " + reason);
  };
  std::error_code error;
  if (!fs::exists(file, error)) {
    if (fs::is_symlink(file, error)) refuse("a link to a file that is not there");
    return std::nullopt;
  }
  if (!fs::is_regular_file(file, error)) refuse("not a file");
  if (fs::file_size(file, error) > largest) {
    refuse("larger than " + std::to_string(largest >> 20) + " MiB, no such file should be");
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (!stream) refuse("cannot be read");
  refuse_stand_in(text, file);
  return text;
}

}  // namespace sinkstream
