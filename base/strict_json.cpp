#include "base/strict_json.h"

#include <algorithm>

#include "base/error.h"
#include "base/json_builder.h"
#include "base/stand_in.h"

namespace sinkstream {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxQuoted = 200;

class Builder final : public JsonBuilder<json> {
 public:
  explicit Builder(const std::string& file) : JsonBuilder(kMaxDepth), file_(file) {}

 private:
  void refuse_repeated_key(const std::string& key) override {
    throw StartupError(ExitCode::model, file_ + ": the key " + in_quotes(key) + " stands there twice");
  }
  void refuse_depth() override { throw StartupError(ExitCode::model, file_ + ": nested too deeply"); }
  void refuse_syntax(const std::string& message) override {
    throw StartupError(ExitCode::model, file_ + ": " + json_complaint(printable(message)));
  }

  const std::string& file_;
};

}  // namespace

json parse_strict_json(std::string_view text, const std::string& file) {
  if (text.find('\0') != std::string_view::npos) {  // the parser would take it for the end
    throw StartupError(ExitCode::model, file + ": " + json_complaint("it contains a NUL byte"));
  }
  Builder builder(file);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string printable(std::string_view text) {
  std::string clean(text.substr(0, kMaxQuoted));
  std::replace_if(
      clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text.size() > kMaxQuoted ? clean + "..." : clean;
}

std::string in_quotes(std::string_view name) {
  return '"' + printable(name) + '"';
}

}  // namespace sinkstream
