// A checkpoint's config.json, then (after a NUL byte) its generation_config.json.
#include "base/error.h"
#include "tests/fuzz/scratch.h"
#include "tests/temporary_directory.h"
#include "worker/model/architectures/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  static const TemporaryDirectory directory(fuzz::scratch_place());
  const std::string_view input = fuzz::as_text(data, size);
  const std::size_t end = input.find('\0');
  directory.write("config.json", input.substr(0, end));
  if (end == std::string_view::npos) {
    std::filesystem::remove(directory.path() / "generation_config.json");
  } else {
    directory.write("generation_config.json", input.substr(end + 1));
  }
  try {
    const ModelConfig config = read_model_config(directory.path());
    if (config.num_kv_heads < 1 || config.num_heads % config.num_kv_heads != 0)
      fuzz::broken("query heads divide among the KV heads");
  } catch (const StartupError&) {
  }
  return 0;
}
