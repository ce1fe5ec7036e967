#include "coordinator/api/answer_format.h"

#include <cmath>

namespace sinkstream {

std::string to_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_event(const Json& json) {
  return "data: " + to_text(json) + "\n\n";
}

double shown_logprob(float logprob) {
  constexpr double kImpossible = -9999.0;
  return std::isfinite(logprob) ? static_cast<double>(logprob) : kImpossible;
}

}  // namespace sinkstream
