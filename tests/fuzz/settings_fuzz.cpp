// The configuration: a YAML file, then (after a NUL byte) an override.
#include "base/error.h"
#include "programs/config.h"
#include "tests/fuzz/scratch.h"
#include "tests/temporary_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  static const TemporaryDirectory directory(fuzz::scratch_place());
  const std::string_view input = fuzz::as_text(data, size);
  const std::size_t end = input.find('\0');
  std::vector<std::string> overrides;
  if (end != std::string_view::npos) overrides.emplace_back(input.substr(end + 1));
  try {
    const Config config = load_config(directory.write("c.yaml", input.substr(0, end)).string(), overrides);
    if (config.cache.window_tokens < 1 || config.cache.sink_tokens < 0) fuzz::broken("settings are in range");
  } catch (const StartupError& error) {
    if (std::string_view(error.what()).empty()) fuzz::broken("a complaint says something");
  }
  return 0;
}
