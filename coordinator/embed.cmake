# Writes INPUT into the C++ source OUTPUT as the array kIndexHtml.
file(READ ${INPUT} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," characters "${hex}")
string(REGEX REPLACE "(('[^']*',){32})" "\\1\n" characters "${characters}")
file(WRITE ${OUTPUT} "namespace sinkstream {
extern const char kIndexHtml[];
extern const unsigned long kIndexHtmlBytes;
const char kIndexHtml[] = {
${characters}};
const unsigned long kIndexHtmlBytes = ${bytes};
}  // namespace sinkstream
")
