// The head of an HTTP request, as it arrives: whole, and in two pieces.
#include "coordinator/http/message/request_head.h"
#include "tests/fuzz/scratch.h"
#include "text/unicode/utf8.h"

namespace {

using sinkstream::HeadScanner;

HeadScanner::Result scan_in_pieces(std::string_view input, std::size_t first) {
  HeadScanner scanner({});
  const HeadScanner::Result early = scanner.scan(input.substr(0, first));
  return early.head_bytes > 0 || early.refusal ? early : scanner.scan(input);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  const std::string_view input = fuzz::as_text(data, size);
  const HeadScanner::Result whole = HeadScanner({}).scan(input);
  if (whole.head_bytes > input.size()) fuzz::broken("a head ends inside what has arrived");
  const HeadScanner::Result pieces = scan_in_pieces(input, size / 2);
  if (whole.head_bytes != pieces.head_bytes && !whole.refusal && !pieces.refusal)
    fuzz::broken("a head ends at one place, however it arrives");
  check_request_head(input.substr(0, whole.head_bytes));
  if (const auto path = decode_path(input); path && !is_valid_utf8(*path))
    fuzz::broken("a path is valid UTF-8");
  if (const auto host = parse_host(input); host && host->host.size() + host->port.size() > size)
    fuzz::broken("a host is a part of its text");
  return 0;
}
