#include "worker/snapshots/snapshot_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace sinkstream {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEnding = ".snapshot";
// Of a disk, one part in so many is not for snapshots: what must not be lost stands there too.
constexpr std::int64_t kReservedShare = 20;

void make_directory(const fs::path& path) {
  std::error_code error;
  if (path.has_parent_path() && !fs::is_directory(path.parent_path(), error))
    make_directory(path.parent_path());
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    throw StartupError(
        ExitCode::config,
        fmt::format("sessions.directory: cannot make {}: {}; give this user the right to write "
                    "there, or name another directory",
                    path.string(), std::strerror(errno)));
  }
}

FileDescriptor lock_file(const fs::path& file) {
  FileDescriptor descriptor(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (descriptor && ::flock(descriptor.get(), LOCK_EX | LOCK_NB) == 0) return descriptor;
  const std::string problem = errno == EWOULDBLOCK ? "another process uses it" : std::strerror(errno);
  throw StartupError(ExitCode::config,
                     fmt::format("sessions.directory: cannot lock {}: {}", file.string(), problem));
}

// Nothing: it is no snapshot's file.
std::optional<std::uint64_t> session_of(const fs::path& file) {
  const std::string name = file.stem().string();
  std::uint64_t session = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), session);
  const bool is_number = error == std::errc() && end == name.data() + name.size();
  return is_number && file.extension() == kEnding ? std::optional(session) : std::nullopt;
}

}  // namespace

SnapshotFiles::SnapshotFiles(SnapshotSettings settings) : settings_(std::move(settings)) {
  make_directory(settings_.directory);
  lock_ = lock_file(settings_.directory / "lock");
  take_up();
  thread_ = std::thread([this] { run(); });
}

SnapshotFiles::~SnapshotFiles() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

fs::path SnapshotFiles::file_of(std::uint64_t session) const {
  return settings_.directory / (std::to_string(session) + kEnding);
}

// What stands there from before, in the order in which it was written.
void SnapshotFiles::take_up() {
  std::vector<std::pair<fs::file_time_type, std::uint64_t>> found;
  std::vector<fs::path> useless;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(settings_.directory, error)) {
    const auto session = session_of(entry.path());
    const auto head = session ? read_snapshot_head(entry.path(), settings_.layout) : std::nullopt;
    std::error_code gone;
    if (head && head->name.session == *session) {
      found.emplace_back(entry.last_write_time(gone), *session);
      files_[*session] = {.bytes = static_cast<std::int64_t>(entry.file_size(gone)), .snapshot = *head};
    } else if (session || entry.path().extension() == unfinished("any").extension()) {
      useless.push_back(entry.path());
    }
  }
  if (error) {
    throw StartupError(ExitCode::config, fmt::format("sessions.directory: cannot read {}: {}",
                                                     settings_.directory.string(), error.message()));
  }
  for (const fs::path& file : useless) fs::remove(file, error);
  if (!useless.empty()) {
    spdlog::warn("{} snapshot(s) in {} are removed: cut short, damaged, or of another model or cache",
                 useless.size(), settings_.directory.string());
  }
  std::ranges::sort(found);
  for (const auto& [time, session] : found) files_[session].last_use = ++uses_;
}

// ---- Jobs

void SnapshotFiles::write(std::uint64_t job, const Snapshot& snapshot, SavedParts parts) {
  add(job, [this, snapshot, parts = std::move(parts)] {
    make_room_for(snapshot, snapshot_bytes(parts));
    write_snapshot(file_of(snapshot.name.session), settings_.layout, snapshot, parts,
                   [this] { return is_stopping(); });
    note_use(snapshot);
  });
}

void SnapshotFiles::read(std::uint64_t job, const Snapshot& snapshot, PartsToFill parts) {
  add(job, [this, snapshot, parts = std::move(parts)] {
    read_snapshot(file_of(snapshot.name.session), settings_.layout, snapshot, parts,
                  [this] { return is_stopping(); });
    note_use(snapshot);
  });
}

void SnapshotFiles::remove(std::uint64_t job, std::uint64_t session) {
  add(job, [this, session] { erase(session); });
}

void SnapshotFiles::keep_only(std::uint64_t job, std::vector<std::uint64_t> sessions) {
  std::ranges::sort(sessions);
  add(job, [this, sessions = std::move(sessions)] {
    std::vector<std::uint64_t> others;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [session, file] : files_) {
        if (!std::ranges::binary_search(sessions, session)) others.push_back(session);
      }
    }
    for (const std::uint64_t session : others) erase(session);
  });
}

void SnapshotFiles::add(std::uint64_t number, std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back({number, std::move(work)});
  wake_.notify_one();
}

void SnapshotFiles::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      job.work();
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure) failures_[job.number] = failure;
    done_ = job.number;
  }
}

bool SnapshotFiles::is_done(std::uint64_t job) {
  const std::lock_guard lock(mutex_);
  if (const auto failure = failures_.extract(job)) std::rethrow_exception(failure.mapped());
  return job <= done_;
}

// ---- What is there

std::optional<Snapshot> SnapshotFiles::find(std::uint64_t session) const {
  const std::lock_guard lock(mutex_);
  const auto file = files_.find(session);
  return file == files_.end() ? std::nullopt : std::optional(file->second.snapshot);
}

std::int64_t SnapshotFiles::bytes() const {
  const std::lock_guard lock(mutex_);
  std::int64_t bytes = 0;
  for (const auto& [session, file] : files_) bytes += file.bytes;
  return bytes;
}

bool SnapshotFiles::is_stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void SnapshotFiles::note_use(const Snapshot& snapshot) {
  const std::uint64_t session = snapshot.name.session;
  std::error_code error;
  const auto bytes = static_cast<std::int64_t>(fs::file_size(file_of(session), error));
  const std::lock_guard lock(mutex_);
  files_[session] = {.bytes = error ? 0 : bytes, .last_use = ++uses_, .snapshot = snapshot};
}

void SnapshotFiles::erase(std::uint64_t session) {
  std::error_code error;
  fs::remove(file_of(session), error);
  const std::lock_guard lock(mutex_);
  files_.erase(session);
}

bool SnapshotFiles::has_room_for(std::int64_t bytes) const {
  struct statvfs disk {};
  if (::statvfs(settings_.directory.c_str(), &disk) != 0) return true;  // writing says what is wrong
  const auto block = static_cast<std::int64_t>(disk.f_frsize);
  const std::int64_t reserved = static_cast<std::int64_t>(disk.f_blocks) / kReservedShare;
  return static_cast<std::int64_t>(disk.f_bavail) - reserved >= bytes / block;
}

// By those of others, the least recently used first. The one that is there of the same session stays until
// the next is whole.
void SnapshotFiles::make_room_for(const Snapshot& snapshot, std::int64_t bytes) {
  if (bytes > settings_.most_bytes) {
    throw std::runtime_error(
        fmt::format("a snapshot takes {} bytes, and all of them may take {} "
                    "(sessions.snapshot_bytes)",
                    bytes, settings_.most_bytes));
  }
  const auto own = [&] {
    const std::lock_guard lock(mutex_);
    const auto file = files_.find(snapshot.name.session);
    return file == files_.end() ? 0 : file->second.bytes;
  }();
  while (this->bytes() - own + bytes > settings_.most_bytes || !has_room_for(bytes)) {
    std::optional<std::uint64_t> oldest;
    {
      const std::lock_guard lock(mutex_);
      std::uint64_t last_use = uses_ + 1;
      for (const auto& [other, file] : files_) {
        if (other != snapshot.name.session && file.last_use < last_use) {
          last_use = file.last_use;
          oldest = other;
        }
      }
    }
    if (!oldest) {
      throw std::runtime_error(
          fmt::format("the disk of {} is nearly full, and the rest of it is not for snapshots",
                      settings_.directory.string()));
    }
    erase(*oldest);
  }
}

}  // namespace sinkstream
