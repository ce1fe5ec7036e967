# What makes compiling shorter, for the targets where that was seen to pay. With sanitizers and with Clang none of it is done,
# and -DSINKSTREAM_PRECOMPILE=OFF -DSINKSTREAM_UNITY=OFF leave it out, so sources include what they use all the same.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND NOT SINKSTREAM_SANITIZE)
  option(SINKSTREAM_PRECOMPILE "Precompile the headers that many sources read" ON)
  option(SINKSTREAM_UNITY "Compile several sources of a target in one go; OFF: one is sooner compiled again" ON)
else()
  set(SINKSTREAM_PRECOMPILE OFF)
  set(SINKSTREAM_UNITY OFF)
endif()

# Headers that many sources read, and that take a good part of the time of compiling them, are read once for several targets.
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

# compile_together(target...): six sources in one go, so that what their headers bring is compiled once. A name in an anonymous
# namespace is therefore a target's: no two of its sources use one for different things.
function(compile_together)
  if(SINKSTREAM_UNITY)
    set_target_properties(${ARGN} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
  endif()
endfunction()
