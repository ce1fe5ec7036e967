// Which headers a library was compiled with that is loaded at run time: it and a program may call each other
// only if theirs are the same.
#pragma once

namespace sinkstream::kernels {

extern const char kInterfaceId[];  // e.g. "0.1.0-65d0c3f8a4b1e2f7"; written by cmake/InterfaceId.cmake

}  // namespace sinkstream::kernels
