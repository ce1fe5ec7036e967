// Unicode normalization (UAX #15).
#pragma once

#include <string>

namespace sinkstream {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

// Valid UTF-8 in and out. Time is near linear, also in runs of combining marks of any length.
std::string normalize(std::string text, NormalForm form);

}  // namespace sinkstream
