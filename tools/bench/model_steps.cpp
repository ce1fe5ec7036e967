#include "tools/bench/model_steps.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "tools/bench/results.h"

namespace sinkstream::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

DecodingStreams::DecodingStreams(Model& model, std::int32_t streams, std::int64_t position,
                                 const CacheWindow& window)
    : model_(model),
      position_(position),
      window_(window),
      choices_(kernels::allocate_array<kernels::Choice>(model.backend(), streams, "choices")),
      chosen_(static_cast<std::size_t>(streams)) {
  for (std::int32_t slot = 0; slot < streams; ++slot) model.begin_turn(slot, {.temperature = 0});
  model.backend().wait(step(false));
}

DecodingStreams::~DecodingStreams() {
  for (std::int32_t slot = 0; slot < std::ssize(chosen_); ++slot) model_.close_slot(slot);
}

double DecodingStreams::time(int repeats, int steps) {
  std::vector<double> each;
  for (int repeat = 0; repeat < repeats; ++repeat) each.push_back(time_some(steps));
  return median(std::move(each));
}

double DecodingStreams::time_some(int steps) {
  kernels::Backend& backend = model_.backend();
  const bool is_ahead = backend.steps_in_flight() > 1;
  const auto begin = Clock::now();
  std::uint64_t last = step(true);
  for (int i = 1; i < steps; ++i) {
    if (!is_ahead) backend.wait(last);
    const std::uint64_t next = step(true);
    if (is_ahead) backend.wait(last);
    last = next;
  }
  backend.wait(last);
  return seconds_since(begin) / steps;
}

std::uint64_t DecodingStreams::step(bool go_on) {
  std::vector<ModelRow> rows;
  for (std::int32_t slot = 0; slot < std::ssize(chosen_); ++slot) {
    rows.push_back({slot, go_on ? kernels::kLastChosen : 17 + slot, position_, window_});
  }
  ++position_;
  model_.forward(rows);
  for (std::int64_t begin = 0; begin < std::ssize(rows); begin += kOutputsAtOnce) {
    const std::int64_t count = std::min(kOutputsAtOnce, std::ssize(rows) - begin);
    std::vector<std::int32_t> selected;
    std::vector<kernels::ChoiceTask> tasks;
    for (std::int64_t i = begin; i < begin + count; ++i) {
      selected.push_back(static_cast<std::int32_t>(i));
      tasks.push_back({.slot = static_cast<std::int32_t>(i), .position = position_});
    }
    model_.choose(model_.logits(selected), tasks, choices_.span.part(begin, count));
  }
  model_.backend().download(choices_.span.data, std::as_writable_bytes(std::span(chosen_)));
  return model_.backend().mark();
}

double time_prefill(Model& model, std::int64_t tokens, std::int64_t chunk, const CacheWindow& window,
                    int repeats) {
  std::int64_t position = 0;
  std::vector<double> each;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto begin = Clock::now();
    for (std::int64_t first = 0; first < tokens; first += chunk) {
      std::vector<ModelRow> rows;
      for (std::int64_t i = first; i < std::min(first + chunk, tokens); ++i) {
        rows.push_back({0, static_cast<TokenId>(i % 1000), position++, window});
      }
      model.forward(rows);
    }
    model.backend().wait(model.backend().mark());
    each.push_back(seconds_since(begin));
  }
  return median(std::move(each));
}

}  // namespace sinkstream::bench
