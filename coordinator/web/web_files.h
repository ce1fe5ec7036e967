// The chat page's files, made part of the binary by the build (coordinator/web/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace sinkstream {

struct WebFile {
  std::string_view name;  // e.g. "main.js"; no directories
  std::string_view bytes;
  std::string_view etag;  // of the bytes, with its quotes
};

std::span<const WebFile> web_files();

}  // namespace sinkstream
