# Writes the files of FILES, a list, into the C++ source OUTPUT: the definition of web_files().
set(arrays "")
set(rows "")
set(index 0)
foreach(file IN LISTS FILES)
  get_filename_component(name ${file} NAME)
  file(SHA256 ${file} hash)
  string(SUBSTRING ${hash} 0 32 etag)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," characters "${hex}")
  string(REGEX REPLACE "(('[^']*',){32})" "\\1\n" characters "${characters}")
  string(APPEND arrays "constexpr char kFile${index}[] = {\n${characters}};\n")
  string(APPEND rows "    {\"${name}\", {kFile${index}, sizeof kFile${index}}, \"\\\"${etag}\\\"\"},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUTPUT} "#include \"coordinator/web/web_files.h\"

namespace sinkstream {
namespace {

${arrays}
constexpr WebFile kFiles[] = {
${rows}};

}  // namespace

std::span<const WebFile> web_files() { return kFiles; }

}  // namespace sinkstream
")
