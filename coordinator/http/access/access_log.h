// One line for each request that was answered, or whose client has left.
#pragma once

#include "base/log.h"
#include "coordinator/http/server.h"

namespace sinkstream {

LogLine access_line(const AnsweredRequest& request);

// At info; a probe's at debug.
void log_access(const AnsweredRequest& request);

}  // namespace sinkstream
