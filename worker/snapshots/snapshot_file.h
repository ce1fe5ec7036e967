// One rank's part of a snapshot in a file: what it is a snapshot of, then the memory of its slot, both with
// checksums (XXH3), so that what is read is what was written, or an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/snapshot.h"

namespace sinkstream {

// Pieces of memory, in the order in which they stand in the file.
using SavedParts = std::vector<std::span<const std::byte>>;
using PartsToFill = std::vector<std::span<std::byte>>;

inline bool never() {
  return false;
}

// `layout`: whatever must be the same for the bytes to mean the same; a part of the file. It appears under
// its name when all of it is on the disk; what was there before stays until then. All throw
// std::runtime_error with what is wrong.
// `gives_up` is asked between pieces of a file; when it says so, that is what is wrong.
void write_snapshot(const std::filesystem::path& file, const std::string& layout, const Snapshot& snapshot,
                    const SavedParts& parts, const std::function<bool()>& gives_up = never);
// What the file is a snapshot of; nothing where it is none of this layout, or damaged there.
std::optional<Snapshot> read_snapshot_head(const std::filesystem::path& file, const std::string& layout);
// Fills the parts, which have the sizes that were written, with what was. After an error anything may stand
// there.
void read_snapshot(const std::filesystem::path& file, const std::string& layout, const Snapshot& snapshot,
                   const PartsToFill& parts, const std::function<bool()>& gives_up = never);
// What a file of these parts takes, about.
std::int64_t snapshot_bytes(const SavedParts& parts);

// For what was begun and not finished.
std::filesystem::path unfinished(const std::filesystem::path& file);

}  // namespace sinkstream
