#pragma once

#include <string_view>

#include "text/jinja/syntax/syntax.h"

namespace sinkstream::jinja {

// Throws Error for anything that is not the template language, or is nested too deeply.
Template parse_template(std::string_view source);

}  // namespace sinkstream::jinja
