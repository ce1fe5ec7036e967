// Encodes and decodes texts and prints the speed; with a Python that has the `tokenizers` library, in rounds
// that alternate with it, each on one thread.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/tokenizer/tokenizer.h"
#include "tools/bench/commands.h"
#include "tools/bench/peer.h"
#include "tools/bench/results.h"

namespace sinkstream::bench {
namespace {

struct Options {
  std::string tokenizer;
  std::vector<std::string> texts;
  std::string python;  // empty: no peer
  std::string peer_script;
  int rounds = 7;
};

// Seconds of each round.
struct Times {
  std::vector<double> encode, decode;
  std::size_t tokens = 0;
};

double seconds_of(auto work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string read_file(const std::string& name) {
  std::ifstream in(name, std::ios::binary);
  if (!in) throw StartupError(ExitCode::config, name + ": cannot be read");
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void run_own_round(const Tokenizer& tokenizer, const std::string& text, Times& times) {
  std::vector<TokenId> tokens;
  times.encode.push_back(seconds_of([&] { tokens = tokenizer.encode(text, {.add_special_tokens = false}); }));
  times.decode.push_back(seconds_of([&] { tokenizer.decode(tokens, false); }));
  times.tokens = tokens.size();
}

void run_peer_round(Peer& peer, const std::string& text_file, Times& times) {
  std::istringstream answer(peer.ask(std::filesystem::absolute(text_file).string()));
  double encode = 0, decode = 0;
  if (!(answer >> encode >> decode >> times.tokens)) {
    throw std::runtime_error("the peer's answer is no timing: " + answer.str());
  }
  times.encode.push_back(encode);
  times.decode.push_back(decode);
}

void print(const std::string& what, std::size_t bytes, const std::vector<double>& own,
           const std::vector<double>& peer) {
  const auto speed = [bytes](double seconds) { return static_cast<double>(bytes) / 1e6 / seconds; };
  std::cout << "  " << what << std::setw(9) << speed(median(own)) << " MB/s";
  if (!peer.empty()) {
    std::cout << "   tokenizers" << std::setw(9) << speed(median(peer)) << " MB/s   ratio "
              << median(peer) / median(own);
  }
  std::cout << '\n';
}

void run(const Options& options) {
  const double load = seconds_of([&] { Tokenizer::load(options.tokenizer); });
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  std::cout << std::fixed << std::setprecision(2) << options.tokenizer << ": loaded in " << load << " s\n";
  std::optional<Peer> peer;
  if (!options.python.empty()) {
    peer.emplace(std::vector<std::string>{options.python, options.peer_script, options.tokenizer});
  }
  for (const std::string& file : options.texts) {
    const std::string text = read_file(file);
    Times own, other;
    for (int round = 0; round < options.rounds; ++round) {
      run_own_round(tokenizer, text, own);
      if (peer) run_peer_round(*peer, file, other);
    }
    std::cout << file << ": " << text.size() << " bytes, " << own.tokens << " tokens\n";
    if (peer && own.tokens != other.tokens) {
      std::cout << "  the tokenizers library makes " << other.tokens << " tokens of it\n";
    }
    print("encode", text.size(), own.encode, other.encode);
    print("decode", text.size(), own.decode, other.decode);
  }
}

}  // namespace

void add_tokenizer(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->peer_script = PROJECT_DIR "/tools/bench/tokenizers_peer.py";
  CLI::App* command = app.add_subcommand(
      "tokenizer",
      "Speed of encoding and decoding on one thread: the median of rounds, and how many times the "
      "speed of the `tokenizers` library that is");
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json")->required();
  command->add_option("--text", options->texts, "Text files")->required();
  command->add_option("--rounds", options->rounds, "Rounds, the first among them")
      ->check(CLI::Range(1, 1000));
  command->add_option("--python", options->python, "A Python that has the `tokenizers` library");
  command->add_option("--peer", options->peer_script, "The script that it runs");
  command->callback([options] { run(*options); });
}

}  // namespace sinkstream::bench
