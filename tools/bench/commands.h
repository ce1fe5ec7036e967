// The subcommands of stream-bench.
#pragma once

#include <CLI/App.hpp>

namespace sinkstream::bench {

void add_choose(CLI::App& app);           // choosing tokens from rows of logits
void add_model(CLI::App& app);            // steps of a model with random weights
void add_parking(CLI::App& app);          // sessions that leave their slots and come back
void add_sums(CLI::App& app);             // sums over ranks
void add_tokenizer(CLI::App& app);        // speed of a tokenizer, beside the `tokenizers` library
void add_tokenizer_lines(CLI::App& app);  // what a tokenizer answers, for fuzz_tokenizers.py

}  // namespace sinkstream::bench
