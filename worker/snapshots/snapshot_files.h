// The snapshots that one rank keeps on its host, and the thread that reads and writes them beside the steps.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "worker/snapshots/snapshot_file.h"

namespace sinkstream {

struct SnapshotSettings {
  std::filesystem::path directory;  // this rank's own
  std::string layout;               // as snapshot_file.h has it
  // Of all its files; those that were used least recently go first, also where the disk is nearly full.
  std::int64_t most_bytes = 0;
};

// Jobs are done in the order in which they are given; each has a number, greater than that of the last. What
// fails is told to whoever asks for that job, and nobody else is hurt: a snapshot saves time, no more.
class SnapshotFiles {
 public:
  // Makes the directory, for this user alone, and locks it. Files there that are none of this layout go.
  // Throws StartupError (ExitCode::config).
  explicit SnapshotFiles(SnapshotSettings settings);
  ~SnapshotFiles();  // gives up what is to be written or read
  SnapshotFiles(const SnapshotFiles&) = delete;
  SnapshotFiles& operator=(const SnapshotFiles&) = delete;

  // The parts must live, and be left alone, until the job is done.
  void write(std::uint64_t job, const Snapshot& snapshot, SavedParts parts);
  void read(std::uint64_t job, const Snapshot& snapshot, PartsToFill parts);
  void remove(std::uint64_t job, std::uint64_t session);
  void keep_only(std::uint64_t job, std::vector<std::uint64_t> sessions);
  void skip(std::uint64_t job) {
    add(job, [] {});
  }  // one that could not begin

  // Whether a job is done. Rethrows what failed in it, once.
  bool is_done(std::uint64_t job);
  // What is there of a session, as far as its head was sound, since the last job that is done.
  std::optional<Snapshot> find(std::uint64_t session) const;
  std::int64_t bytes() const;  // of all files

 private:
  struct File {
    std::int64_t bytes = 0;
    std::uint64_t last_use = 0;
    Snapshot snapshot;
  };
  struct Job {
    std::uint64_t number = 0;
    std::function<void()> work;
  };

  std::filesystem::path file_of(std::uint64_t session) const;
  void take_up();
  void add(std::uint64_t number, std::function<void()> work);
  void run();
  void note_use(const Snapshot& snapshot);
  void erase(std::uint64_t session);
  void make_room_for(const Snapshot& snapshot, std::int64_t bytes);
  bool has_room_for(std::int64_t bytes) const;
  bool is_stopping() const;

  const SnapshotSettings settings_;
  FileDescriptor lock_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::uint64_t done_ = 0;  // the newest job that is done
  std::map<std::uint64_t, std::exception_ptr> failures_;
  std::map<std::uint64_t, File> files_;  // by session
  std::uint64_t uses_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sinkstream
