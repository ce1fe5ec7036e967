#include "parallel/start/launch_mismatch.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace sinkstream {
namespace {

struct Launcher {
  const char* name;
  const char* rank;    // set in each process that it starts
  const char* size;    // how many those are
  const char* remedy;  // besides mpirun
};

// Of one that stands on another (mpirun within Slurm) the inner comes first.
constexpr Launcher kLaunchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "use the mpirun of the MPI that this was built with"},
    {"flux run", "FLUX_TASK_RANK", "FLUX_JOB_SIZE", "flux run -o pmi=pmix"},
    {"jsrun", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "jsrun with this MPI's module loaded"},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun --mpi=pmix (srun --mpi=list shows what there is)"},
    {"srun", "SLURM_PROCID", "SLURM_NTASKS", "srun --mpi=pmix (srun --mpi=list shows what there is)"},
    {"mpirun_rsh", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "use Open MPI's mpirun"},
    {"another MPI's mpiexec", "PMI_RANK", "PMI_SIZE",
     "use Open MPI's mpirun, not the one of MPICH or Intel MPI"},
};

int number(const char* text) {
  const std::string_view view = text == nullptr ? "" : text;
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  return error == std::errc() && end == view.data() + view.size() ? value : 0;
}

}  // namespace

std::string launch_mismatch(int world_size, const EnvironmentLookup& variable) {
  const auto* const launcher = std::ranges::find_if(kLaunchers, [&](const Launcher& each) {
    return variable(each.rank) != nullptr && number(variable(each.size)) > 0;
  });
  if (launcher == std::end(kLaunchers)) return "";
  const int asked = number(variable(launcher->size));
  if (asked <= world_size) return "";
  const std::string count = std::to_string(asked);
  return std::string(launcher->name) + " started " + count + " tasks (" + launcher->size +
         "), but MPI sees " + std::to_string(world_size) +
         ": each would serve alone. Start the group with \"mpirun -np " + count +
         " stream-worker ...\", or: " + launcher->remedy + ". To serve on one rank, start one task";
}

}  // namespace sinkstream
