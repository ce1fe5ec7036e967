// stream-bench: times parts of the server, side by side with others that do the same.
#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "tools/bench/commands.h"

int main(int argc, char** argv) {
  using namespace sinkstream;
  CLI::App app{"Times parts of the server, side by side with others that do the same."};
  app.set_version_flag("--version", SINKSTREAM_VERSION);
  app.require_subcommand(1);
  bench::add_choose(app);
  bench::add_model(app);
  bench::add_parking(app);
  bench::add_sums(app);
  bench::add_tokenizer(app);
  bench::add_tokenizer_lines(app);
  try {
    app.parse(argc, argv);  // which runs the subcommand
    return 0;
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::config);
  } catch (const StartupError& error) {
    std::cerr << "stream-bench: " << error.what() << '\n';
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::cerr << "stream-bench: " << error.what() << '\n';
    return static_cast<int>(ExitCode::internal);
  }
}
