// Fields of generation requests that this server knows and does not support.
#pragma once

#include "coordinator/api/request/request_fields.h"

namespace sinkstream {

// Refuses what would change the result (400 unsupported_parameter); takes what changes nothing: fields that
// are off, empty, or without effect here.
void refuse_unsupported(RequestFields& fields);
// Of them, tools.
void refuse_tools(RequestFields& fields);

}  // namespace sinkstream
