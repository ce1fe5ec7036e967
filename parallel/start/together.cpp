#include "parallel/start/together.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/start/local_ranks.h"

namespace sinkstream {
namespace {

// Collective: "rank 1", with its host where the group has several.
std::string name_of_rank(Communicator& group, std::ptrdiff_t rank) {
  const LocalRanks local = find_local_ranks(group);
  const std::vector<std::string> hosts = all_gather_strings(group, local.host);
  const std::string name = "rank " + std::to_string(rank);
  return local.single_host ? name : name + " on " + hosts[static_cast<std::size_t>(rank)];
}

}  // namespace

void together(Communicator& group, const std::function<void()>& action) {
  std::string failure;  // exit code as one character, then the message
  try {
    action();
  } catch (const GroupEnded&) {
    throw;
  } catch (const StartupError& error) {
    failure = static_cast<char>(error.code()) + std::string(error.what());
  } catch (const std::exception& error) {
    failure = static_cast<char>(ExitCode::internal) + std::string(error.what());
  }
  const std::vector<std::string> failures = all_gather_strings(group, failure);
  const auto first =
      std::find_if(failures.begin(), failures.end(), [](const std::string& f) { return !f.empty(); });
  if (first == failures.end()) return;
  const bool everywhere = std::count(failures.begin(), failures.end(), *first) == group.size();
  const std::string where =
      everywhere || group.size() == 1 ? "" : name_of_rank(group, first - failures.begin()) + ": ";
  throw StartupError(static_cast<ExitCode>(first->front()), where + first->substr(1));
}

void require_same(Communicator& group, std::uint64_t value, const std::string& what) {
  const std::vector<std::uint64_t> values = all_gather_value(group, value);
  const auto other =
      std::find_if(values.begin(), values.end(), [&](std::uint64_t v) { return v != values.front(); });
  if (other == values.end()) return;
  throw StartupError(ExitCode::model, name_of_rank(group, other - values.begin()) + " sees other " + what +
                                          " than rank 0; give every host the same");
}

}  // namespace sinkstream
