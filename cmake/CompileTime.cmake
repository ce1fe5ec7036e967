# Headers that many sources read, and that take a good part of the time of compiling them, are read once for several targets:
# those where that was seen to pay. Sources include what they use all the same: with sanitizers, with Clang and with
# SINKSTREAM_PRECOMPILE=OFF nothing is precompiled.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND NOT SINKSTREAM_SANITIZE)
  option(SINKSTREAM_PRECOMPILE "Precompile the headers that many sources read" ON)
else()
  set(SINKSTREAM_PRECOMPILE OFF)
endif()

set(often_read
  <algorithm> <chrono> <condition_variable> <cstdint> <filesystem> <functional> <map> <memory> <mutex> <optional> <span>
  <sstream> <string> <string_view> <thread> <unordered_map> <utility> <variant> <vector>
  <fmt/format.h> <nlohmann/json.hpp>)

# precompile_for(target [<header>...]): the target compiles those above and these.
function(precompile_for target)
  if(SINKSTREAM_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE ${often_read} ${ARGN})
  endif()
endfunction()

# precompiled_by(owner target...): the targets take what the owner compiles. They have its options, but for warnings, and
# its macros, and may have more.
function(precompiled_by owner)
  if(SINKSTREAM_PRECOMPILE)
    foreach(target ${ARGN})
      target_precompile_headers(${target} REUSE_FROM ${owner})
    endforeach()
  endif()
endfunction()
