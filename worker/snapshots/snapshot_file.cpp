#define XXH_INLINE_ALL
#include "worker/snapshots/snapshot_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <tuple>

#include "base/file_descriptor.h"
#include "base/wire.h"

namespace sinkstream {

namespace {

namespace fs = std::filesystem;

struct Head {
  std::string layout;
  Snapshot snapshot;
  std::int64_t bytes = 0;  // of all parts
};

auto fields(wire::Is<Head> auto& head) {
  auto& [layout, snapshot, bytes] = head;
  return std::tie(layout, snapshot, bytes);
}

constexpr std::uint64_t kMagic = 0x31504e534b4e5353;  // "SSNKSNP1": the last is the format's version
constexpr std::uint32_t kMostHeadBytes = 1 << 16;

// What a file begins with, before its head.
struct Opening {
  std::uint64_t magic = kMagic;
  std::uint64_t head_checksum = 0;
  std::uint32_t head_bytes = 0;
};

auto fields(wire::Is<Opening> auto& opening) {
  auto& [magic, head_checksum, head_bytes] = opening;
  return std::tie(magic, head_checksum, head_bytes);
}

// So much is written or read between looks whether to give up; what is written is brought to the disk as
// often, so that no wait for it is long.
constexpr std::size_t kPieceBytes = std::size_t{32} << 20;
constexpr std::int64_t kMostBytesBeside = 4096;  // head and checksums

constexpr std::size_t kOpeningBytes = wire::kLeast<Opening>;

[[noreturn]] void fail(const fs::path& file, const std::string& what) {
  throw std::runtime_error("snapshot " + file.string() + ": " + what);
}
[[noreturn]] void fail(const fs::path& file, const char* action, int error) {
  fail(file, std::string("cannot ") + action + ": " + std::strerror(error));
}

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

// Of bytes that come in pieces.
class Checksum {
 public:
  Checksum() { XXH3_64bits_reset(&state_); }
  void add(std::span<const std::byte> bytes) { XXH3_64bits_update(&state_, bytes.data(), bytes.size()); }
  std::uint64_t value() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

void write_all(const fs::path& file, int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(file, "write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

// Less than all where the file ends.
std::size_t read_all(const fs::path& file, int descriptor, std::span<std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t read = ::read(descriptor, bytes.data() + done, bytes.size() - done);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) fail(file, "read", errno);
    if (read == 0) break;
    done += static_cast<std::size_t>(read);
  }
  return done;
}

void sync_directory(const fs::path& directory) {
  const FileDescriptor descriptor(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor || ::fsync(descriptor.get()) != 0) fail(directory, "sync", errno);
}

template <typename Parts>
std::int64_t bytes_of(const Parts& parts) {
  std::int64_t bytes = 0;
  for (const auto& part : parts) bytes += static_cast<std::int64_t>(part.size());
  return bytes;
}

// The head of an open file, which is read as far.
std::optional<Head> read_head(const fs::path& file, int descriptor) {
  std::array<std::byte, kOpeningBytes> begin;
  if (read_all(file, descriptor, begin) < begin.size()) return std::nullopt;
  const auto opening = wire::decode<Opening>(begin);
  if (opening.magic != kMagic || opening.head_bytes > kMostHeadBytes) return std::nullopt;
  std::vector<std::byte> bytes(opening.head_bytes);
  if (read_all(file, descriptor, bytes) < bytes.size() || checksum_of(bytes) != opening.head_checksum) {
    return std::nullopt;
  }
  return wire::decode<Head>(bytes);
}

void sync(const fs::path& file, int descriptor) {
  if (::fdatasync(descriptor) != 0) fail(file, "bring it to the disk", errno);
}

// Calls `use` for pieces of all parts, in order, and `between` when some have been used.
template <typename Byte>
void for_each_piece(const std::vector<std::span<Byte>>& parts,
                    const std::function<void(std::span<Byte>)>& use, const std::function<void()>& between) {
  std::size_t used = 0;
  for (std::span<Byte> part : parts) {
    while (!part.empty()) {
      const auto piece = part.first(std::min(part.size(), kPieceBytes - used));
      use(piece);
      part = part.subspan(piece.size());
      used += piece.size();
      if (used < kPieceBytes) continue;
      used = 0;
      between();
    }
  }
}

void write_whole(const fs::path& file, int descriptor, const std::string& layout, const Snapshot& snapshot,
                 const SavedParts& parts, const std::function<bool()>& gives_up) {
  const auto head = wire::encode(Head{layout, snapshot, bytes_of(parts)});
  write_all(file, descriptor,
            wire::encode(Opening{.head_checksum = checksum_of(head),
                                 .head_bytes = static_cast<std::uint32_t>(head.size())}));
  write_all(file, descriptor, head);
  const auto checksum = std::make_unique<Checksum>();
  const auto write = [&](std::span<const std::byte> piece) {
    checksum->add(piece);
    write_all(file, descriptor, piece);
  };
  for_each_piece<const std::byte>(parts, write, [&] {
    sync(file, descriptor);
    if (gives_up()) fail(file, "it was given up");
  });
  write_all(file, descriptor, wire::encode(checksum->value()));
  sync(file, descriptor);
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);  // it may never be read
}

}  // namespace

std::int64_t snapshot_bytes(const SavedParts& parts) {
  return bytes_of(parts) + kMostBytesBeside;
}

fs::path unfinished(const fs::path& file) {
  return file.string() + ".part";
}

void write_snapshot(const fs::path& file, const std::string& layout, const Snapshot& snapshot,
                    const SavedParts& parts, const std::function<bool()>& gives_up) {
  const fs::path part = unfinished(file);
  FileDescriptor descriptor(
      ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!descriptor) fail(part, "write", errno);
  try {
    write_whole(part, descriptor.get(), layout, snapshot, parts, gives_up);
    descriptor.reset();
    if (::rename(part.c_str(), file.c_str()) != 0) fail(file, "put it in its place", errno);
  } catch (const std::runtime_error&) {
    ::unlink(part.c_str());
    throw;
  }
  sync_directory(file.parent_path());
}

std::optional<Snapshot> read_snapshot_head(const fs::path& file, const std::string& layout) {
  const FileDescriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) return std::nullopt;
  try {
    const auto head = read_head(file, descriptor.get());
    if (head && head->layout == layout) return head->snapshot;
  } catch (const std::runtime_error&) {
    // as where there is none
  }
  return std::nullopt;
}

void read_snapshot(const fs::path& file, const std::string& layout, const Snapshot& snapshot,
                   const PartsToFill& parts, const std::function<bool()>& gives_up) {
  const FileDescriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) fail(file, "read", errno);
  const auto head = read_head(file, descriptor.get());
  if (!head) fail(file, "it is damaged");
  if (head->layout != layout || head->snapshot != snapshot || head->bytes != bytes_of(parts)) {
    fail(file, "it is one of another state");
  }
  const auto checksum = std::make_unique<Checksum>();
  const auto read = [&](std::span<std::byte> piece) {
    if (read_all(file, descriptor.get(), piece) < piece.size()) fail(file, "it is cut short");
    checksum->add(piece);
  };
  for_each_piece<std::byte>(parts, read, [&] {
    if (gives_up()) fail(file, "it was given up");
  });
  std::array<std::byte, sizeof(std::uint64_t)> end;
  const bool is_whole = read_all(file, descriptor.get(), end) == end.size();
  if (!is_whole || wire::decode<std::uint64_t>(end) != checksum->value()) fail(file, "it is damaged");
}

}  // namespace sinkstream
