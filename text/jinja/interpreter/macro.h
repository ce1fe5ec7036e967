#pragma once

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/syntax/syntax.h"
#include "text/jinja/values/value.h"

namespace sinkstream::jinja {

// The macro as a value; it sees the names of the scope it is made in. The definition must outlive it.
Value make_macro(Interpreter& interpreter, const MacroDefinition& definition);

}  // namespace sinkstream::jinja
