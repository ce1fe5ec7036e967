// What is told of sessions that are not there.
#pragma once

#include <string>

#include "coordinator/http/message/request_error.h"

namespace sinkstream {

RequestError no_such_session(const std::string& id);  // 404

}  // namespace sinkstream
