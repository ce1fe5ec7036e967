// What is told of sessions that are not there, or can't be read.
#pragma once

#include <string>

#include "coordinator/http/message/request_error.h"

namespace sinkstream {

RequestError no_such_session(const std::string& id);   // 404
RequestError session_damaged(const std::string& why);  // 500

}  // namespace sinkstream
