// Prometheus' standard metrics of a process, from /proc.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace sinkstream {

// Of this process: the leader. Those that the system does not tell are left out.
std::vector<prometheus::MetricFamily> process_families();

}  // namespace sinkstream
