// stream-worker: one rank of a worker group.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <optional>

#include "base/error.h"
#include "coordinator/http/server.h"
#include "kernels/make_backend.h"
#include "parallel/communicator/mpi_communicator.h"
#include "programs/config.h"
#include "programs/sizing.h"
#include "programs/worker_process.h"
#include "worker/model/architectures/model_config.h"

namespace {

using namespace sinkstream;

int number_from_environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

// Before MPI starts, the launcher's environment tells which rank this is, so that only one speaks.
bool speaks_for_the_group() {
  return number_from_environment("OMPI_COMM_WORLD_RANK", number_from_environment("PMI_RANK", 0)) == 0;
}

int world_size() {
  return number_from_environment("OMPI_COMM_WORLD_SIZE", number_from_environment("PMI_SIZE", 1));
}

std::string version_text() {
  std::string devices;
  for (const std::string& name : kernels::device_names()) {
    devices += (devices.empty() ? "" : ", ") + kernels::describe_device(name);
  }
  return std::string("stream-worker ") + SINKSTREAM_VERSION + "\ncompiler: " + __VERSION__ +
         "\nMPI: " + MpiSession::library_version() + "\ndevices: " + devices;
}

struct PlanOptions {
  bool asked = false;
  int ranks = world_size();
  std::optional<std::int64_t> memory;  // bytes of each rank
};

int print_plan(const WorkerOptions& options, const PlanOptions& plan) {
  if (!speaks_for_the_group())
    return 0;  // an error of another rank would have mpirun end the one that speaks
  try {
    const Config config = load_config(options.config, options.overrides, options.model);
    check_server_settings(config.server);
    const SizingReport report =
        report_sizing(config, read_model_config(config.model.path), plan.ranks, plan.memory);
    std::cout << report.text;
    return static_cast<int>(report.fits ? ExitCode::ok : ExitCode::device);
  } catch (const StartupError& error) {
    std::cerr << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"One rank of a Sinkstream worker group. Start a group with: mpirun -np N stream-worker MODEL"};
  WorkerOptions options;
  PlanOptions plan;
  app.add_option("model", options.model,
                 "the model: a directory with config.json; wins over the file's model.path")
      ->type_name("MODEL");
  app.add_option("--config", options.config,
                 "configuration file; looked up as given, then among the installed ones")
      ->type_name("FILE");
  app.add_option("--set", options.overrides, "change one setting; may be given several times")
      ->type_name("section.key=value")
      ->allow_extra_args(false)
      ->take_all();
  app.add_flag(
      "--plan", plan.asked,
      "print each rank's shard, bytes and how many sessions fit, and load nothing; ends with 4 where the "
      "model does not fit");
  app.add_option("--ranks", plan.ranks, "with --plan: the number of ranks to plan for")
      ->check(CLI::Range(1, 65536))
      ->needs("--plan");
  app.add_option("--memory", plan.memory,
                 "with --plan: what each rank may take, e.g. 80G; without it, what this host has")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 60))
      ->needs("--plan")
      ->type_name("BYTES");
  app.set_version_flag("--version", version_text);
  app.footer(
      "Settings (section.key = default):\n" + describe_settings() +
      "\nExit codes: 0 ended as asked, 2 configuration, 3 model, 4 memory or device, 5 a rank was lost, "
      "6 address in use, 130 interrupted.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const int code = app.exit(error, out, err);
    if (speaks_for_the_group()) {
      std::cout << out.str();
      std::cerr << err.str();
    }
    return code == 0 ? 0 : static_cast<int>(ExitCode::config);
  }
  return plan.asked ? print_plan(options, plan) : run_worker(options);
}
