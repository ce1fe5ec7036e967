// Start-up steps that either succeed on every rank or end all of them with one error.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "parallel/communicator/communicator.h"

namespace sinkstream {

// Runs `action` here and learns how it went elsewhere. When it failed on any rank, every rank throws the
// StartupError of the lowest such rank; a std::exception counts as ExitCode::internal. Collective.
void together(Communicator& group, const std::function<void()>& action);

// Throws StartupError (ExitCode::model) on every rank, naming the first rank whose value is not the leader's.
void require_same(Communicator& group, std::uint64_t value, const std::string& what);

template <typename Make>
auto make_together(Communicator& group, const Make& make) {
  std::optional<decltype(make())> made;
  together(group, [&] { made.emplace(make()); });
  return std::move(*made);
}

}  // namespace sinkstream
