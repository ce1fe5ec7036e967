# Asio and Beast are compiled once, in asio.cpp; only the connection and the server see them.
add_library(sinkstream_http STATIC
  http/access.cpp
  http/access_log.cpp
  http/asio.cpp
  http/bound_address.cpp
  http/client_address.cpp
  http/connection.cpp
  http/cross_origin.cpp
  http/incoming_request.cpp
  http/message.cpp
  http/pending_exchange.cpp
  http/request_error.cpp
  http/request_head.cpp
  http/request_target.cpp
  http/response_format.cpp
  http/router.cpp
  http/server.cpp
  http/server_settings.cpp)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND SINKSTREAM_SANITIZE)
  # Clang 14 cannot check the types of called functions where there are coroutines.
  set_source_files_properties(http/connection.cpp http/server.cpp PROPERTIES COMPILE_OPTIONS -fno-sanitize=function)
endif()
target_compile_definitions(sinkstream_http PRIVATE BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
                                                   BOOST_ASIO_NO_DEPRECATED)
# GCC 12 with sanitizers finds these in Asio's and Beast's own code.
target_compile_options(sinkstream_http PRIVATE -Wno-mismatched-new-delete -Wno-maybe-uninitialized
                                               $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
if(SINKSTREAM_SANITIZE)
  # This check opens a pipe, and takes an object for a broken one when there are no descriptors left.
  target_compile_options(sinkstream_http PRIVATE -fno-sanitize=vptr)
endif()
target_link_libraries(sinkstream_http
  PUBLIC Threads::Threads
  PRIVATE sinkstream_text sinkstream_log Boost::headers nlohmann_json::nlohmann_json spdlog::spdlog)

include(${CMAKE_CURRENT_SOURCE_DIR}/web/files.cmake)

# The description of the API becomes part of the binary, with the version in it.
configure_file(api/openapi.json ${CMAKE_CURRENT_BINARY_DIR}/openapi.json @ONLY)
file(READ ${CMAKE_CURRENT_BINARY_DIR}/openapi.json openapi_json)
configure_file(api/openapi_json.cpp.in ${CMAKE_CURRENT_BINARY_DIR}/openapi_json.cpp @ONLY)

add_library(sinkstream_coordinator STATIC
  ${CMAKE_CURRENT_BINARY_DIR}/openapi_json.cpp
  ${web_files_source}
  api/answer_format.cpp
  api/chat_completions.cpp
  api/chat_messages.cpp
  api/chat_prompt.cpp
  api/choice.cpp
  api/completions.cpp
  api/detokenize.cpp
  api/generation.cpp
  api/generation_budget.cpp
  api/generation_options.cpp
  api/health.cpp
  api/metrics.cpp
  api/metrics_endpoint.cpp
  api/models.cpp
  api/openapi.cpp
  api/page.cpp
  api/process_metrics.cpp
  api/request_fields.cpp
  api/request_json.cpp
  api/service.cpp
  api/tokenize.cpp
  api/tokenizer_info.cpp
  api/unseen_messages.cpp
  api/unsupported_fields.cpp
  api/usage.cpp
  api/version.cpp
  coordinator.cpp)
target_link_libraries(sinkstream_coordinator
  PUBLIC sinkstream_http sinkstream_text nlohmann_json::nlohmann_json
  PRIVATE prometheus-cpp::core spdlog::spdlog)
