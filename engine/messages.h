// Commands and events as bytes, for a coordinator and an engine in different processes, and for what is kept.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/commands.h"
#include "engine/events.h"

namespace sinkstream {

std::vector<std::byte> encode(const Command& command);
std::vector<std::byte> encode(const Event& event);

// Throws wire::Malformed when the bytes are not one whole message of this build. What its values mean is
// checked by whoever receives it.
Command decode_command(std::span<const std::byte> message);
Event decode_event(std::span<const std::byte> message);

}  // namespace sinkstream
