// Names that one process of a host can hold at a time: sockets in Linux's abstract namespace, gone with the
// process.
#pragma once

#include <string>

#include "base/file_descriptor.h"

namespace sinkstream {

// Holds `name`, or nothing where another process of this host (and network namespace) holds it.
FileDescriptor claim_name(const std::string& name);

// True when some process of this host holds `name`.
bool is_name_claimed(const std::string& name);

}  // namespace sinkstream
