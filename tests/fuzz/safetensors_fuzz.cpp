// A safetensors file: its header is checked whole before anything is used.
#include "base/error.h"
#include "tests/fuzz/scratch.h"
#include "worker/model/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  const auto contents = std::as_bytes(std::span(data, size));
  try {
    if (safetensors_header_end(contents, "f") > size) fuzz::broken("a header ends inside the file");
    for (const auto& [name, tensor] : parse_safetensors(contents, "f", "f")) {
      if (tensor.offset > size || tensor.bytes > size - tensor.offset)
        fuzz::broken("a tensor lies in the file");
    }
  } catch (const StartupError&) {
  }
  return 0;
}
