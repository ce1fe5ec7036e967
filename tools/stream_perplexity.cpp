// stream-perplexity: reads a text through the cache as one session and writes how well each token was
// foreseen. Runs alone or under mpirun, on the same steps as the server.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iomanip>
#include <iostream>

#include "base/error.h"
#include "parallel/start/together.h"
#include "text/tokenizer/tokenizer.h"
#include "tools/one_session.h"

namespace {

using namespace sinkstream;

struct Options {
  std::string config = "demo.yaml";
  std::vector<std::string> overrides;
  std::string text;
  std::string output;  // CSV; empty: standard output
  std::int64_t max_tokens = 0;
  std::int64_t block = 256;  // tokens of one CSV line
};

// Physical memory of this process, in bytes.
std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t total_pages = 0, resident_pages = 0;
  in >> total_pages >> resident_pages;
  return resident_pages * sysconf(_SC_PAGESIZE);
}

std::vector<TokenId> read_tokens(const Options& options, const Config& config) {
  std::ifstream in(options.text, std::ios::binary);
  if (!in) throw StartupError(ExitCode::config, "--text " + options.text + ": cannot be read");
  const std::string text(std::istreambuf_iterator<char>(in), {});
  auto tokens = Tokenizer::load(config.model.path / "tokenizer.json").encode(text);
  if (options.max_tokens > 0 && std::ssize(tokens) > options.max_tokens) {
    tokens.resize(static_cast<std::size_t>(options.max_tokens));
  }
  if (tokens.size() < 2)
    throw StartupError(ExitCode::config, "--text " + options.text + ": fewer than two tokens");
  return tokens;
}

// The leader's tokens on every rank.
std::vector<TokenId> share_tokens(Communicator& group, const Options& options, const Config& config) {
  std::vector<TokenId> tokens;
  together(group, [&] {
    if (group.is_leader()) tokens = read_tokens(options, config);
  });
  const auto bytes = std::as_bytes(std::span(tokens));
  std::vector<std::byte> message(bytes.begin(), bytes.end());
  group.broadcast(message);
  tokens.resize(message.size() / sizeof(TokenId));
  std::copy(message.begin(), message.end(), std::as_writable_bytes(std::span(tokens)).begin());
  return tokens;
}

// One step that takes in tokens [begin, end) and scores what follows each.
StepPlan scoring_step(const std::vector<TokenId>& tokens, std::int64_t begin, std::int64_t end) {
  StepPlan plan;
  for (std::int64_t position = begin; position < end; ++position) {
    plan.rows.push_back({0, tokens[static_cast<std::size_t>(position)], position});
    PlanOutput output;
    output.kind = PlanOutput::Kind::score;
    output.row = static_cast<std::int32_t>(position - begin);
    output.target = tokens[static_cast<std::size_t>(position) + 1];
    plan.outputs.push_back(output);
  }
  return plan;
}

// Collective; the leader writes.
void measure(Communicator& group, const Options& options, const OneSession& session, Rank& rank,
             const std::vector<TokenId>& tokens, std::ostream& out) {
  const SessionSizing& sessions = session.sizing;
  const char* mode = name_of(session.config.cache.mode);
  const auto begin = std::chrono::steady_clock::now();
  std::int64_t scored = std::ssize(tokens) - 1;
  if (!sessions.shape.endless()) scored = std::min(scored, sessions.shape.max_context);
  double total = 0, in_block = 0;
  std::int64_t block_tokens = 0;
  if (group.is_leader()) out << "mode,tokens,nll,seconds,resident_bytes\n";
  std::uint64_t number = 0;
  for (std::int64_t position = 0; position < scored;) {
    const std::int64_t end =
        std::min({scored, position + sessions.session_chunk, position + options.block - block_tokens});
    StepPlan plan = scoring_step(tokens, position, end);
    plan.number = ++number;
    if (number == 1) plan.operations.push_back(OpenSlot{0, sessions.shape.window});
    for (const auto& result : rank.runner->run(plan)) in_block -= static_cast<double>(result.logprob);
    block_tokens += end - position;
    position = end;
    if (block_tokens < options.block && position < scored) continue;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (group.is_leader()) {
      out << mode << ',' << position << ',' << in_block / static_cast<double>(block_tokens) << ','
          << seconds.count() << ',' << resident_bytes() << std::endl;  // seen at once
    }
    total += in_block;
    in_block = 0;
    block_tokens = 0;
  }
  if (!group.is_leader()) return;
  out.flush();
  if (scored < std::ssize(tokens) - 1) {
    spdlog::warn("dense: refused at {} tokens, cache.max_context", sessions.shape.max_context);
  }
  spdlog::info("{}: {} tokens, mean NLL {:.4f}, perplexity {:.2f}", mode, scored,
               total / static_cast<double>(scored), std::exp(total / static_cast<double>(scored)));
}

void run(Communicator& group, const Options& options) {
  const OneSession session = size_one_session(group, options.config, options.overrides);
  const auto tokens = share_tokens(group, options, session.config);
  Rank rank = load_one_session(group, session);
  std::ofstream file;
  together(group, [&] {
    if (!group.is_leader() || options.output.empty()) return;
    file.open(options.output);
    if (!file) throw StartupError(ExitCode::config, "--output " + options.output + ": cannot be written");
  });
  measure(group, options, session, rank, tokens, options.output.empty() ? std::cout : file);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Reads a text as one endless session and writes the negative log-likelihood of its tokens"};
  Options options;
  app.add_option("--config", options.config, "configuration file")->type_name("FILE")->capture_default_str();
  app.add_option("--set", options.overrides, "change one setting")
      ->type_name("section.key=value")
      ->allow_extra_args(false);
  app.add_option("--text", options.text, "the text, UTF-8")->required()->type_name("FILE");
  app.add_option("--output", options.output, "CSV: mode,tokens,nll,seconds,resident_bytes")
      ->type_name("FILE");
  app.add_option("--tokens", options.max_tokens, "read so many tokens at most")->check(CLI::PositiveNumber);
  app.add_option("--block", options.block, "tokens of one CSV line")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  return run_in_group("stream-perplexity", [&](Communicator& group) { run(group, options); });
}
