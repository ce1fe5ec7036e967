#pragma once

#include "tests/paths.h"
#include "text/tokenizer/tokenizer.h"

namespace sinkstream {

/// The demo model's.
inline const Tokenizer& demo_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::load(project_dir() / "models/demo/tokenizer.json");
  return tokenizer;
}

}  // namespace sinkstream
