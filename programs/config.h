// The configuration file and its overrides.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "coordinator/api/sessions/session_settings.h"
#include "coordinator/http/server_settings.h"

namespace sinkstream {

enum class CacheMode { sink, window, dense };

struct ModelSettings {
  std::filesystem::path path;        // a checkpoint directory; in the file, relative to the file
  std::string name;                  // default: the directory's name
  std::vector<std::string> aliases;  // further names that requests may use
  std::string weights = "bf16";
  std::string sink_token;  // name of a trained sink; empty: none
};

struct CacheSettings {
  CacheMode mode = CacheMode::sink;
  std::int64_t sink_tokens = 4;
  std::int64_t window_tokens = 252;
  std::int64_t max_sink_tokens = 512;
  std::int64_t slack_tokens = 128;
  std::string type = "bf16";
  std::optional<std::int64_t> slots;        // nullopt: auto, as many as fit
  std::optional<std::int64_t> max_context;  // dense only; auto: the model's trained context
};

struct ParallelSettings {
  std::string device = "auto";
  std::string communicator = "auto";
  std::optional<std::int64_t> threads;  // of each rank; auto: this rank's share of the host's CPUs
  double stuck_seconds = 10;
};

struct EngineSettings {
  std::int64_t prefill_chunk = 128;
  double prefill_slowdown = 2;
  std::int64_t max_queue = 256;
  std::int64_t default_max_tokens = 4096;
  std::int64_t max_tokens = 1000000;
};

// Sessions that rest and leave their slots to others.
struct ParkingSettings {
  std::optional<std::int64_t> bytes;  // of each rank's host; nullopt: auto
};

struct Config {
  std::filesystem::path file;  // where it was found; empty without one
  ModelSettings model;
  CacheSettings cache;
  ParallelSettings parallel;
  EngineSettings engine;
  SessionSettings sessions;
  ParkingSettings parking;
  ServerSettings server;
  LogSettings log;
};

// `file` is taken as a path, then looked up among the installed configurations; without one, all settings
// have their defaults. `model` is a directory and wins over the file's model.path. `overrides` are
// "section.key=value" and win over both. All problems are reported at once, each as "file:line:column: ..."
// with the nearest known key. Throws StartupError (ExitCode::config).
Config load_config(const std::optional<std::string>& file, const std::vector<std::string>& overrides,
                   const std::optional<std::string>& model = std::nullopt);

// Every key that has an effect, with its type, default and meaning, for --help.
std::string describe_settings();

}  // namespace sinkstream
