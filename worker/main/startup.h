// Start-up steps that either succeed on every rank or end all of them with one error.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "parallel/communicator.h"

namespace sinkstream {

// Runs `action` here and learns how it went elsewhere. When it failed on any rank, every rank throws the
// StartupError of the lowest such rank; a std::exception counts as ExitCode::internal. Collective.
void together(Communicator& group, const std::function<void()>& action);

template <typename Make>
auto make_together(Communicator& group, const Make& make) {
  std::optional<decltype(make())> made;
  together(group, [&] { made.emplace(make()); });
  return std::move(*made);
}

}  // namespace sinkstream
