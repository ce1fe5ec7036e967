#include "coordinator/api/generation/answer_format.h"

#include <cmath>

namespace sinkstream {

std::string to_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_event(const Json& json) {
  return "data: " + to_text(json) + "\n\n";
}

Json prompt_logprobs_json(const std::vector<TokenReport>& prompt, const Tokenizer& tokenizer) {
  Json list = Json::array();
  for (const TokenReport& report : prompt) {
    Json entry = nullptr;
    const auto add = [&](TokenId token, float logprob, std::int64_t rank) {
      entry[std::to_string(token)] = {{"logprob", shown_logprob(logprob)},
                                      {"rank", rank},
                                      {"decoded_token", tokenizer.token_bytes(token)}};
    };
    if (report.logprob) add(report.token, *report.logprob, report.rank);
    std::int64_t rank = 0;
    for (const TokenLogprob& other : report.top) add(other.token, other.logprob, ++rank);
    list.push_back(std::move(entry));
  }
  return list;
}

double shown_logprob(float logprob) {
  constexpr double kImpossible = -9999.0;
  return std::isfinite(logprob) ? static_cast<double>(logprob) : kImpossible;
}

}  // namespace sinkstream
