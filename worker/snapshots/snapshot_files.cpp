#include "worker/snapshots/snapshot_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

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
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(settings_.directory, error)) {
    const auto session = session_of(entry.path());
    if (session) {
      found.emplace_back(entry.last_write_time(error), *session);
      files_[*session].bytes = static_cast<std::int64_t>(entry.file_size(error));
    } else if (entry.path().extension() == unfinished("any").extension()) {
      fs::remove(entry.path(), error);
    }
  }
  if (error) {
    throw StartupError(ExitCode::config, fmt::format("sessions.directory: cannot read {}: {}",
                                                     settings_.directory.string(), error.message()));
  }
  std::ranges::sort(found);
  for (const auto& [time, session] : found) files_[session].last_use = ++uses_;
}

// ---- Jobs

void SnapshotFiles::write(std::uint64_t job, const Snapshot& snapshot, SavedParts parts) {
  add(job, [this, snapshot, parts = std::move(parts)] {
    const std::uint64_t session = snapshot.name.session;
    write_snapshot(file_of(session), settings_.layout, snapshot, parts);
    note_use(session);
    make_room_beside(session);
  });
}

void SnapshotFiles::read(std::uint64_t job, const Snapshot& snapshot, PartsToFill parts) {
  add(job, [this, snapshot, parts = std::move(parts)] {
    read_snapshot(file_of(snapshot.name.session), settings_.layout, snapshot, parts);
    note_use(snapshot.name.session);
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
  {
    const std::lock_guard lock(mutex_);
    if (!files_.contains(session)) return std::nullopt;
  }
  return read_snapshot_head(file_of(session), settings_.layout);
}

std::int64_t SnapshotFiles::bytes() const {
  const std::lock_guard lock(mutex_);
  std::int64_t bytes = 0;
  for (const auto& [session, file] : files_) bytes += file.bytes;
  return bytes;
}

void SnapshotFiles::note_use(std::uint64_t session) {
  std::error_code error;
  const auto bytes = static_cast<std::int64_t>(fs::file_size(file_of(session), error));
  const std::lock_guard lock(mutex_);
  files_[session] = {.bytes = error ? 0 : bytes, .last_use = ++uses_};
}

void SnapshotFiles::erase(std::uint64_t session) {
  std::error_code error;
  fs::remove(file_of(session), error);
  const std::lock_guard lock(mutex_);
  files_.erase(session);
}

// By those of others, the least recently used first.
void SnapshotFiles::make_room_beside(std::uint64_t session) {
  while (bytes() > settings_.most_bytes) {
    std::optional<std::uint64_t> oldest;
    {
      const std::lock_guard lock(mutex_);
      std::uint64_t last_use = uses_ + 1;
      for (const auto& [other, file] : files_) {
        if (other != session && file.last_use < last_use) {
          last_use = file.last_use;
          oldest = other;
        }
      }
    }
    if (!oldest) {
      erase(session);
      throw std::runtime_error(
          fmt::format("a snapshot alone is larger than sessions.snapshot_bytes ({})", settings_.most_bytes));
    }
    erase(*oldest);
  }
}

}  // namespace sinkstream
