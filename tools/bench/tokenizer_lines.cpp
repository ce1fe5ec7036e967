// Reads one JSON object a line, {"text": ..} or {"ids": [..]}, and answers with one a line: the tokens of the
// text, with and without special tokens, or the text of the ids, with and without special tokens, and whether
// the stream gives the same.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/tokenizer/tokenizer.h"
#include "tools/bench/commands.h"

namespace sinkstream::bench {
namespace {

using nlohmann::json;

std::string stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip_special_tokens) {
  TextDecoder decoder(tokenizer, skip_special_tokens);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

json answer(const Tokenizer& tokenizer, const json& question) {
  if (question.contains("text")) {
    const std::string text = question["text"];
    try {
      return {{"ids", tokenizer.encode(text)},
              {"plain_ids", tokenizer.encode(text, {.add_special_tokens = false})}};
    } catch (const std::runtime_error& error) {
      return {{"error", error.what()}};
    }
  }
  const std::vector<TokenId> ids = question["ids"];
  const std::string text = tokenizer.decode(ids, true);
  const std::string whole = tokenizer.decode(ids, false);
  return {{"text", text},
          {"whole", whole},
          {"stream", stream(tokenizer, ids, true) == text && stream(tokenizer, ids, false) == whole}};
}

void run(const std::string& file) {
  const Tokenizer tokenizer = Tokenizer::load(file);
  std::cout << json{{"vocab_size", tokenizer.vocab_size()}}.dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(tokenizer, json::parse(line)).dump() << '\n' << std::flush;
  }
}

}  // namespace

void add_tokenizer_lines(CLI::App& app) {
  auto file = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("tokenizer-lines", "Answers questions on standard input about a tokenizer");
  command->add_option("tokenizer", *file, "A tokenizer.json")->required();
  command->callback([file] { run(*file); });
}

}  // namespace sinkstream::bench
