# Writes OUTPUT, which defines kernels/interface_id.h's constant: a hash of HEADERS (in ROOT), the version and the compiler.
set(text "${COMPILER}\n")
foreach(header IN LISTS HEADERS)
  file(SHA256 ${ROOT}/${header} hash)
  string(APPEND text "${header} ${hash}\n")
endforeach()
string(SHA256 id "${text}")
string(SUBSTRING ${id} 0 16 id)
file(WRITE ${OUTPUT} "#include \"kernels/interface_id.h\"\n\n"
  "namespace sinkstream::kernels {\nconst char kInterfaceId[] = \"${VERSION}-${id}\";\n}\n")
