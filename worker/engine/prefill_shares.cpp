#include "worker/engine/prefill_shares.h"

#include <algorithm>

namespace sinkstream {

std::vector<std::int64_t> prefill_shares(std::span<const std::int64_t> wanted, std::int64_t budget) {
  std::vector<std::int64_t> shares(wanted.size(), 0);
  for (bool any = true; any && budget > 0;) {
    any = false;
    const std::int64_t even =
        std::max<std::int64_t>(1, budget / std::max<std::int64_t>(1, std::ssize(wanted)));
    for (std::size_t i = 0; i < wanted.size() && budget > 0; ++i) {
      const std::int64_t given = std::min({wanted[i] - shares[i], even, budget});
      shares[i] += given;
      budget -= given;
      any = any || given > 0;
    }
  }
  return shares;
}

}  // namespace sinkstream
