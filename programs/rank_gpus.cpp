#include "programs/rank_gpus.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "base/error.h"
#include "kernels/make_backend.h"
#include "parallel/start/local_ranks.h"
#include "parallel/start/together.h"

namespace sinkstream {
namespace {

[[noreturn]] void refuse_to_share(const std::vector<VisibleGpus>& ranks, const std::string& host) {
  std::set<std::string> gpus;
  int local_ranks = 0;
  for (const VisibleGpus& rank : ranks) {
    if (rank.host != host) continue;
    ++local_ranks;
    for (const kernels::Gpu& gpu : rank.gpus) gpus.insert(gpu.uuid);
  }
  throw StartupError(ExitCode::device,
                     host.substr(0, host.find(' ')) + ": " + std::to_string(local_ranks) + " ranks, and " +
                         std::to_string(gpus.size()) +
                         " GPU(s) that they see; start a rank for each GPU, or let ranks share them "
                         "with parallel.communicator: shm or mpi");
}

void require_one_capability(const std::vector<RankGpu>& places) {
  const auto other = std::ranges::find_if(
      places, [&](const RankGpu& place) { return place.gpu.capability != places.front().gpu.capability; });
  if (other == places.end()) return;
  throw StartupError(ExitCode::device,
                     "rank " + std::to_string(other - places.begin()) + " is on a " + other->gpu.name +
                         ", rank 0 on a " + places.front().gpu.name +
                         "; ranks need GPUs of one compute capability (CUDA_VISIBLE_DEVICES "
                         "chooses among those of a host)");
}

// To be sent: a line for the host, then one for each GPU, its name last.
std::string to_text(const VisibleGpus& visible) {
  std::ostringstream out;
  out << visible.host << '\n';
  for (const kernels::Gpu& gpu : visible.gpus) {
    out << gpu.number << ' ' << gpu.uuid << ' ' << gpu.capability << ' ' << gpu.total_bytes << ' ' << gpu.name
        << '\n';
  }
  return out.str();
}

VisibleGpus from_text(const std::string& text) {
  std::istringstream in(text);
  VisibleGpus visible;
  std::getline(in, visible.host);
  for (kernels::Gpu gpu; in >> gpu.number >> gpu.uuid >> gpu.capability >> gpu.total_bytes;) {
    std::getline(in >> std::ws, gpu.name);
    visible.gpus.push_back(gpu);
  }
  return visible;
}

}  // namespace

VisibleGpus see_gpus() {
  return {host_identity(), kernels::find_gpus()};
}

std::vector<RankGpu> place_ranks(const std::vector<VisibleGpus>& ranks, bool may_share) {
  std::map<std::string, int> ranks_on;  // by the GPU's uuid
  std::vector<RankGpu> places;
  for (const VisibleGpus& rank : ranks) {
    const kernels::Gpu& gpu = *std::ranges::min_element(
        rank.gpus, {}, [&](const kernels::Gpu& each) { return ranks_on[each.uuid]; });
    if (ranks_on[gpu.uuid]++ > 0 && !may_share) refuse_to_share(ranks, rank.host);
    places.push_back({gpu, 1});
  }
  for (RankGpu& place : places) place.ranks = ranks_on[place.gpu.uuid];
  require_one_capability(places);
  return places;
}

RankGpu find_rank_gpu(Communicator& group, bool may_share) {
  const auto mine = make_together(group, see_gpus);
  std::vector<VisibleGpus> ranks;
  for (const std::string& text : all_gather_strings(group, to_text(mine))) ranks.push_back(from_text(text));
  return place_ranks(ranks, may_share)[static_cast<std::size_t>(group.rank())];
}

}  // namespace sinkstream
