#pragma once

#include "coordinator/text/jinja/interpreter.h"
#include "coordinator/text/jinja/syntax.h"
#include "coordinator/text/jinja/value.h"

namespace sinkstream::jinja {

// The macro as a value; it sees the names of the scope it is made in. The definition must outlive it.
Value make_macro(Interpreter& interpreter, const MacroDefinition& definition);

}  // namespace sinkstream::jinja
