// Models whose weights are not in the project: a directory of models/ with a recipe, from which
// launch/fetch-model (tools/fetch_model/fetch.py) makes a checkpoint directory elsewhere, once.
#pragma once

#include <filesystem>
#include <string>

namespace sinkstream {

// Whether `directory` stands for weights that are yet to be fetched.
bool is_recipe(const std::filesystem::path& directory);

// `directory` itself, or the checkpoint that was made from it when it is a recipe and that has been done.
std::filesystem::path find_fetched(const std::filesystem::path& directory);

// The command, and where it puts the weights.
std::string how_to_fetch(const std::filesystem::path& recipe);

}  // namespace sinkstream
