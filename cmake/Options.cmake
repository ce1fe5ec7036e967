# Compiler settings for every target. Warnings are errors where CMAKE_COMPILE_WARNING_AS_ERROR says so: in the developers'
# presets and in CI, not where somebody's newer compiler warns of more.
set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers)
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")  # kernels/cuda has nvcc's
# One meaning for every floating-point expression: fused multiply-adds only where the code asks for them,
# so a row's result does not depend on which loop computed it.
add_compile_options(-ffp-contract=off)
add_compile_definitions(SINKSTREAM_VERSION="${PROJECT_VERSION}")

if(SINKSTREAM_SANITIZE)
  add_compile_options(-fsanitize=${SINKSTREAM_SANITIZE} -fno-omit-frame-pointer)
  if(SINKSTREAM_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
  add_link_options(-fsanitize=${SINKSTREAM_SANITIZE})
endif()
