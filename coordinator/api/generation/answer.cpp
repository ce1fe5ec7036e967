#include "coordinator/api/generation/answer.h"

#include <fmt/format.h>

#include <ctime>
#include <random>
#include <utility>

namespace sinkstream {
namespace {

std::string new_answer_id(const std::string& prefix) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}{:016x}{:016x}", prefix, random(), random());
}

}  // namespace

Answer::Answer(std::shared_ptr<Exchange> exchange, const GenerationSpec& spec, std::function<Json()> usage)
    : exchange_(std::move(exchange)),
      spec_(spec),
      usage_(std::move(usage)),
      id_(new_answer_id(spec.format->id_prefix())),
      created_(std::time(nullptr)),
      collected_(spec.num_choices()) {}

Json Answer::body(Json choices) const {
  Json json = {{"id", id_},
               {"object", spec_.format->object(spec_.options.stream)},
               {"created", created_},
               {"model", spec_.options.model},
               {"system_fingerprint", "sinkstream-" SINKSTREAM_VERSION}};
  json["choices"] = std::move(choices);
  if (spec_.options.stream && spec_.options.include_usage) {
    json["usage"] = spec_.options.continuous_usage ? usage_() : Json(nullptr);
  }
  return json;
}

// ---- streamed

void Answer::begin() {
  if (!spec_.options.stream) return;
  exchange_->start_stream();
  for (std::size_t i = 0; i < spec_.num_choices(); ++i) {
    Json opening = spec_.format->opening(static_cast<int>(i), spec_.prompt_of(i));
    if (!opening.is_null()) exchange_->send(to_event(body(Json::array({std::move(opening)}))));
  }
}

void Answer::show(std::size_t index, Piece piece) {
  if (piece.empty()) return;
  if (!spec_.options.stream) return collected_[index].piece.append(std::move(piece));
  exchange_->send(to_event(body(Json::array({spec_.format->piece(static_cast<int>(index), piece)}))));
}

void Answer::end_choice(std::size_t index, const char* finish_reason) {
  collected_[index].finish_reason = finish_reason;
  if (!spec_.options.stream) return;
  Json chunk = body(Json::array({spec_.format->end(static_cast<int>(index), finish_reason)}));
  chunk["truncation"] = spec_.options.truncation;
  exchange_->send(to_event(chunk));
}

void Answer::end_stream() {
  if (spec_.options.include_usage) {
    Json chunk = body(Json::array());
    chunk["usage"] = usage_();
    exchange_->send(to_event(chunk));
  }
  exchange_->send("data: [DONE]\n\n");
  exchange_->finish_stream();
}

// ---- whole

bool Answer::is_long() const {
  constexpr std::size_t kManyEntries = 65536;
  const auto alternatives = static_cast<std::size_t>(spec_.options.top_logprobs);
  const auto prompt_alternatives = static_cast<std::size_t>(spec_.options.prompt_logprobs.value_or(0));
  std::size_t entries = 0;
  for (std::size_t i = 0; i < collected_.size(); ++i) {
    const Piece& piece = collected_[i].piece;
    entries += piece.tokens.size() * (1 + alternatives) + piece.token_ids.size();
    entries += piece.prompt.size() * (1 + prompt_alternatives);
    if (spec_.options.return_token_ids) entries += spec_.prompt_of(i).tokens.size();
  }
  return entries > kManyEntries;
}

void Answer::respond() const {
  Json choices = Json::array();
  for (std::size_t i = 0; i < collected_.size(); ++i) {
    choices.push_back(spec_.format->whole(static_cast<int>(i), collected_[i].piece, spec_.prompt_of(i),
                                          collected_[i].finish_reason));
  }
  Json json = body(std::move(choices));
  spec_.format->add_members(json, collected_.front().piece);
  json["usage"] = usage_();
  json["truncation"] = spec_.options.truncation;
  exchange_->respond({200, "application/json", to_text(json)});
}

}  // namespace sinkstream
