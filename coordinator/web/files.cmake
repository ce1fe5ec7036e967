# The chat page's files, which become part of the binary.
find_file(MARKED_JS marked.umd.min.js PATHS /usr/share/javascript/marked /usr/share/nodejs/marked/lib NO_DEFAULT_PATH)
find_file(DOMPURIFY_JS purify.min.js PATHS /usr/share/nodejs/dompurify/dist /usr/share/javascript/dompurify NO_DEFAULT_PATH)
if(NOT MARKED_JS OR NOT DOMPURIFY_JS)
  message(FATAL_ERROR "The chat page needs marked 4 and DOMPurify: install libjs-marked and node-dompurify (launch/install "
                      "does on Debian and Ubuntu), or say where they are: -DMARKED_JS=.../marked.umd.min.js "
                      "-DDOMPURIFY_JS=.../purify.min.js")
endif()

file(GLOB web_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.html ${CMAKE_CURRENT_LIST_DIR}/*.css
                                      ${CMAKE_CURRENT_LIST_DIR}/*.js)
list(APPEND web_files ${MARKED_JS} ${DOMPURIFY_JS})
set(web_files_source ${CMAKE_CURRENT_BINARY_DIR}/web_files.cpp)
add_custom_command(
  OUTPUT ${web_files_source}
  COMMAND ${CMAKE_COMMAND} "-DFILES=${web_files}" -DOUTPUT=${web_files_source} -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
  DEPENDS ${web_files} ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
  VERBATIM)
