#include "parallel/host/roll_call.h"

#include <cstdlib>

#include "parallel/host/host_name_claim.h"

namespace sinkstream {
namespace {

std::string text_of(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

int number_of(const char* variable, int otherwise) {
  const std::string text = text_of(variable);
  return text.empty() ? otherwise : std::atoi(text.c_str());
}

}  // namespace

LaunchedAs launched_as() {
  return {.job = text_of("PMIX_NAMESPACE"),
          .rank = number_of("OMPI_COMM_WORLD_RANK", 0),
          .size = number_of("OMPI_COMM_WORLD_SIZE", 1),
          .local_rank = number_of("OMPI_COMM_WORLD_LOCAL_RANK", 0),
          .local_size = number_of("OMPI_COMM_WORLD_LOCAL_SIZE", 1)};
}

RollCall::RollCall(const LaunchedAs& launched)
    : launched_(launched), signed_in_(claim_name(name_of(launched.local_rank))) {}

std::string RollCall::name_of(int local_rank) const {
  return "sinkstream-start-" + launched_.job + "-" + std::to_string(local_rank);
}

std::string RollCall::complaint(const std::string& waited) const {
  const bool one_host = launched_.local_size == launched_.size;
  std::string missing;
  for (int r = 0; r < launched_.local_size; ++r) {
    const bool present = r == launched_.local_rank || is_name_claimed(name_of(r));
    if (present && r < launched_.local_rank) return "";
    if (!present) missing += (missing.empty() ? "" : ", ") + std::to_string(r);
  }
  const std::string start = "rank " + std::to_string(launched_.rank) + " waited " + waited + " for all " +
                            std::to_string(launched_.size) + " ranks to start; ";
  if (!missing.empty())
    return start + (one_host ? "missing: rank " : "missing on this host: local rank ") + missing;
  return start + (one_host ? "all have begun to start, so one is stopped or very slow"
                           : "those of this host have begun to start, so see the other hosts");
}

}  // namespace sinkstream
