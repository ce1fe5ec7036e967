#include "parallel/communicator/communicator.h"

#include <algorithm>

namespace sinkstream {

std::vector<std::string> all_gather_strings(Communicator& communicator, const std::string& mine) {
  const std::vector<std::uint64_t> lengths = all_gather_value<std::uint64_t>(communicator, mine.size());
  const std::size_t longest = *std::max_element(lengths.begin(), lengths.end());

  std::string padded = mine;
  padded.resize(longest);
  std::vector<char> all(longest * lengths.size());
  communicator.all_gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(all)));

  std::vector<std::string> strings;
  for (std::size_t r = 0; r < lengths.size(); ++r) strings.emplace_back(all.data() + r * longest, lengths[r]);
  return strings;
}

}  // namespace sinkstream
