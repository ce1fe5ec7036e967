// The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes. Parsing does no
// I/O.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "worker/model/checkpoint/checkpoint.h"

namespace sinkstream {

// A file's bytes up to the end of its header, which may then be parsed. Throws as below.
std::size_t safetensors_header_end(std::span<const std::byte> contents, const std::string& path);

// Checks a whole file and lists its tensors; only the header's bytes are looked at. `path` is for complaints,
// `file` is what TensorInfo::file becomes. Throws StartupError (ExitCode::model) naming the file, and the
// tensor if any.
std::map<std::string, TensorInfo> parse_safetensors(std::span<const std::byte> contents,
                                                    const std::string& path, const std::string& file);

}  // namespace sinkstream
