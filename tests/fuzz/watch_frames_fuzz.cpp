// The watchdogs' stream of frames: in one piece and byte by byte. What is read encodes to the same bytes
// again.
#include <string>
#include <vector>

#include "parallel/watch/frames.h"
#include "tests/fuzz/scratch.h"

namespace {

using namespace sinkstream;

std::vector<watch::Frame> read_all(watch::FrameReader& reader) {
  std::vector<watch::Frame> frames;
  while (auto frame = reader.next()) frames.push_back(std::move(*frame));
  return frames;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = fuzz::as_text(data, size);
  watch::FrameReader whole;
  whole.append(input);
  const std::vector<watch::Frame> frames = read_all(whole);

  watch::FrameReader pieces;
  std::vector<watch::Frame> again;
  for (const char byte : input) {
    pieces.append(std::string_view(&byte, 1));
    for (watch::Frame& frame : read_all(pieces)) again.push_back(std::move(frame));
  }
  if (again != frames || pieces.broken() != whole.broken())
    fuzz::broken("frames are the same however they arrive");

  std::string bytes;
  for (const watch::Frame& frame : frames) bytes += watch::encode(frame);
  if (!input.starts_with(bytes)) fuzz::broken("what is read encodes to the same bytes");
  return 0;
}
