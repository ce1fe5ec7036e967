// What the API says of the served model, and how much of it may be asked for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/api/sessions/session_settings.h"

namespace sinkstream {

struct ApiSettings {
  std::string model_name;
  std::vector<std::string> model_aliases;  // other names for it
  std::int64_t default_max_tokens = 0;     // of a request that names none
  std::int64_t max_tokens = 0;             // the most that a request may name
  SessionSettings sessions;
  std::int64_t slot_bytes = 0;    // of a session's slot, on all ranks together
  std::string model_fingerprint;  // sessions on disk are of one model
  std::string arithmetic;         // what decides the bits of answers: ranks, instruction set, types
};

}  // namespace sinkstream
