#include "coordinator/api/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>

namespace sinkstream {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

// /proc/self/stat after the command's name, which may hold anything (proc(5); the first is field 3).
std::vector<std::string> stat_fields() {
  std::ifstream file("/proc/self/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream rest(text.substr(name_end + 1));
  return {std::istream_iterator<std::string>(rest), {}};
}

// Field n of proc(5).
std::optional<double> stat_field(const std::vector<std::string>& fields, std::size_t n) {
  constexpr std::size_t kFirst = 3;
  if (n - kFirst >= fields.size()) return std::nullopt;
  return std::stod(fields[n - kFirst]);
}

// Unix time.
std::optional<double> boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string name; file >> name;) {
    double value = 0;
    if (name == "btime" && file >> value) return value;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

std::optional<double> open_files() {
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/self/fd", error);
  if (error) return std::nullopt;
  return static_cast<double>(std::distance(begin(entries), end(entries)) - 1);  // without the iterator's own
}

double max_files() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? std::numeric_limits<double>::infinity()
                                         : static_cast<double>(limit.rlim_cur);
}

double cpu_seconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

std::vector<MetricFamily> process_families() {
  constexpr std::size_t kStartTime = 22, kVirtualBytes = 23, kResidentPages = 24;
  std::vector<MetricFamily> families;
  const auto add = [&](const char* name, const char* help, MetricType type, std::optional<double> value) {
    if (!value) return;
    prometheus::ClientMetric metric;
    metric.gauge.value = *value;
    metric.counter.value = *value;
    families.push_back({name, help, type, {metric}});
  };
  const std::vector<std::string> fields = stat_fields();
  std::optional<double> resident = stat_field(fields, kResidentPages);
  if (resident) *resident *= static_cast<double>(sysconf(_SC_PAGESIZE));
  std::optional<double> started = boot_time();
  const auto ticks = stat_field(fields, kStartTime);
  if (started && ticks) *started += *ticks / static_cast<double>(sysconf(_SC_CLK_TCK));

  add("process_cpu_seconds_total", "CPU time of the leader's process, user and system.", MetricType::Counter,
      cpu_seconds());
  add("process_resident_memory_bytes", "Physical memory.", MetricType::Gauge, resident);
  add("process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge,
      stat_field(fields, kVirtualBytes));
  add("process_open_fds", "Open file descriptors.", MetricType::Gauge, open_files());
  add("process_max_fds", "The most that may be open.", MetricType::Gauge, max_files());
  add("process_start_time_seconds", "When it started, Unix time.", MetricType::Gauge,
      ticks ? started : std::nullopt);
  return families;
}

}  // namespace sinkstream
