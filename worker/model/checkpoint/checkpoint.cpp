#include "worker/model/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/stand_in.h"
#include "base/strict_json.h"
#include "worker/model/checkpoint/fetched_model.h"
#include "worker/model/checkpoint/fingerprint.h"
#include "worker/model/checkpoint/mapped_file.h"
#include "worker/model/checkpoint/safetensors.h"

namespace sinkstream {
namespace {

using kernels::DType;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

[[noreturn]] void refuse_path(const fs::path& path, const std::string& reason) {
  throw StartupError(ExitCode::model, path.string() + ": " + reason);
}

constexpr struct {
  const char* extension;
  const char* remedy;
} kForeignFiles[] = {
    {".gguf", "GGUF files are not read; use the original checkpoint in safetensors"},
    {".bin",
     "pickle files are not read (they could run any code); convert them to safetensors, for example with "
     "transformers: "
     "AutoModelForCausalLM.from_pretrained(DIRECTORY).save_pretrained(NEW_DIRECTORY)"},
    {".pt", "pickle files are not read (they could run any code); use a checkpoint in safetensors"},
    {".pth", "pickle files are not read (they could run any code); use a checkpoint in safetensors"},
    {".ckpt", "pickle files are not read (they could run any code); use a checkpoint in safetensors"},
    {".incomplete", "an unfinished download; let it finish, or download the model again"},
    {".part", "an unfinished download; let it finish, or download the model again"},
    {".crdownload", "an unfinished download; let it finish, or download the model again"},
    {".aria2", "an unfinished download; let it finish, or download the model again"},
    {".h5", "Keras files are not read; use a checkpoint in safetensors"},
    {".msgpack", "Flax files are not read; use a checkpoint in safetensors"},
};

[[noreturn]] void refuse_without_safetensors(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) refuse_path(directory, "no such directory");
  if (is_recipe(directory))
    refuse_path(directory, "the weights have not been fetched yet; " + how_to_fetch(directory));
  if (fs::exists(directory / "adapter_config.json", error)) {
    refuse_path(directory,
                "an adapter (LoRA), not a model; merge it into its base model first, for example with "
                "peft: merge_and_unload(), then save_pretrained()");
  }
  if (fs::exists(directory / "consolidated.safetensors", error)) {
    refuse_path(directory / "consolidated.safetensors",
                "is in the publisher's own layout; the one of Hugging Face (model*.safetensors) is read");
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string extension = entry.path().extension().string();
    for (const auto& [foreign, remedy] : kForeignFiles) {
      if (extension == foreign) refuse_path(entry.path(), remedy);
    }
    if (extension == ".safetensors") {
      refuse_path(entry.path(),
                  std::string("one of several files, but ") + kIndexFile + ", which tells how, is missing");
    }
  }
  refuse_path(directory, std::string("holds neither ") + kSingleFile + " nor " + kIndexFile +
                             "; set model.path to a checkpoint directory (config.json alone is enough for "
                             "--plan only)");
}

// model.safetensors.index.json: which file each tensor stands in.
std::map<std::string, std::string> read_weight_map(const fs::path& path) {
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  refuse_stand_in(text, path);
  const json index = parse_strict_json(text, path.string());
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    refuse_path(path, "has no object \"weight_map\"");
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string())
      refuse_path(path, "tensor " + in_quotes(tensor) + ": its file name is not a text");
    const auto& name = shard.get_ref<const std::string&>();
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string_view("/\\\0", 3)) != name.npos) {
      refuse_path(path, "tensor " + in_quotes(tensor) + ": " + in_quotes(name) +
                            " is not a file name in this directory");
    }
    weight_map.emplace(tensor, name);
  }
  if (weight_map.empty()) refuse_path(path, "\"weight_map\" is empty");
  return weight_map;
}

// The index and the files' own headers must tell the same, but of tied tensors converters drop one and leave
// the index as it was, or the other way round.
void check_weight_map(const std::map<std::string, std::string>& weight_map,
                      const std::map<std::string, TensorInfo>& tensors, const std::vector<std::string>& tied,
                      const fs::path& index) {
  const auto is_tied = [&tied](const std::string& name) {
    return std::ranges::find(tied, name) != tied.end();
  };
  for (const auto& [name, file] : weight_map) {
    if (is_tied(name)) continue;
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.file != file) {
      refuse_path(index,
                  "tensor " + in_quotes(name) + " should stand in " + in_quotes(file) + ", but does not");
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!weight_map.contains(name) && !is_tied(name)) {
      refuse_path(
          index, "tensor " + in_quotes(name) + " of " + in_quotes(tensor.file) + " is not in \"weight_map\"");
    }
  }
}

std::string to_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return '[' + text + ']';
}

// Safetensors promise no alignment, so elements are copied out.
void convert_elements(const std::byte* source, DType source_type, std::int64_t count, DType dtype,
                      void* destination) {
  const auto size = static_cast<std::size_t>(count);
  if (source_type == dtype) {
    std::memcpy(destination, source, size * kernels::size_of(dtype));
  } else if (dtype == DType::f32) {
    kernels::read_floats(source, source_type, {static_cast<float*>(destination), size});
  } else {
    std::vector<float> values(size);
    kernels::read_floats(source, source_type, values);
    std::ranges::transform(values, static_cast<kernels::bfloat16*>(destination), kernels::to_bfloat16);
  }
}

}  // namespace

struct Checkpoint::State {
  fs::path directory;
  std::map<std::string, MappedFile> files;
  std::map<std::string, TensorInfo> tensors;
  std::uint64_t fingerprint = kEmptyFingerprint;

  void add_file(const std::string& name) {
    const auto path = (directory / name).string();
    const auto bytes = files.emplace(name, MappedFile(path)).first->second.bytes();
    for (auto& [tensor, info] : parse_safetensors(bytes, path, name)) {
      const auto [known, is_new] = tensors.emplace(tensor, std::move(info));
      if (!is_new)
        refuse_path(path, "tensor " + in_quotes(tensor) + " also stands in " + in_quotes(known->second.file));
    }
    fingerprint = add_to_fingerprint(fingerprint, std::as_bytes(std::span(name)));
    fingerprint = add_to_fingerprint(fingerprint, bytes.first(safetensors_header_end(bytes, path)));
  }

  // A few bytes from the middle of each tensor: enough to tell one training from another, without reading
  // all.
  void add_samples() {
    constexpr std::uint64_t kSample = 64;
    for (const auto& [name, tensor] : tensors) {
      const auto bytes = files.at(tensor.file).bytes().subspan(tensor.offset, tensor.bytes);
      const std::uint64_t count = std::min(kSample, tensor.bytes);
      fingerprint = add_to_fingerprint(fingerprint, bytes.subspan((tensor.bytes - count) / 2, count));
    }
  }
};

Checkpoint::Checkpoint(const fs::path& directory, const std::vector<std::string>& tied)
    : state_(std::make_unique<State>()) {
  std::error_code error;
  state_->directory = directory;
  if (fs::exists(directory / kSingleFile, error) || fs::is_symlink(directory / kSingleFile, error)) {
    state_->add_file(kSingleFile);
  } else if (fs::exists(directory / kIndexFile, error)) {
    const auto weight_map = read_weight_map(directory / kIndexFile);
    std::set<std::string> names;
    for (const auto& [tensor, name] : weight_map) {
      const bool may_lack = std::ranges::find(tied, tensor) != tied.end();
      if (!may_lack || fs::exists(directory / name, error)) names.insert(name);
    }
    for (const std::string& name : names) state_->add_file(name);
    check_weight_map(weight_map, state_->tensors, tied, directory / kIndexFile);
  } else {
    refuse_without_safetensors(directory);
  }
  state_->add_samples();
}

Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

const std::map<std::string, TensorInfo>& Checkpoint::tensors() const {
  return state_->tensors;
}

bool Checkpoint::contains(const std::string& name) const {
  return state_->tensors.contains(name);
}

bool Checkpoint::holds_f16() const {
  return std::ranges::any_of(state_->tensors,
                             [](const auto& entry) { return entry.second.dtype == DType::f16; });
}

std::uint64_t Checkpoint::fingerprint() const {
  return state_->fingerprint;
}

const TensorInfo& Checkpoint::expect(const std::string& name, const std::vector<std::int64_t>& shape) const {
  const auto found = state_->tensors.find(name);
  if (found == state_->tensors.end()) refuse(name, "missing, though config.json asks for it");
  const TensorInfo& tensor = found->second;
  if (tensor.shape != shape) {
    refuse(name, "has shape " + to_text(tensor.shape) + ", but config.json makes it " + to_text(shape));
  }
  if (!tensor.dtype) refuse(name, "has type " + tensor.type + "; weights are read from F32, BF16 and F16");
  return tensor;
}

void Checkpoint::refuse(const std::string& name, const std::string& reason) const {
  const auto found = state_->tensors.find(name);
  const fs::path path =
      found == state_->tensors.end() ? state_->directory : state_->directory / found->second.file;
  refuse_path(path, "tensor " + in_quotes(name) + ": " + reason);
}

kernels::StoredRows Checkpoint::stored_rows(const TensorInfo& tensor, Range rows, Range columns) const {
  std::int64_t width = 1;
  for (std::size_t axis = 1; axis < tensor.shape.size(); ++axis) width *= tensor.shape[axis];
  const std::int64_t height = tensor.shape.empty() ? 1 : tensor.shape[0];
  const auto is_within = [](Range range, std::int64_t size) {
    return 0 <= range.begin && range.begin <= range.end && range.end <= size;
  };
  if (!is_within(rows, height) || !is_within(columns, width) || !tensor.dtype) {
    throw std::invalid_argument("stored_rows: not a slice of the tensor");
  }
  const auto element = static_cast<std::int64_t>(kernels::size_of(*tensor.dtype));
  const std::byte* const first = state_->files.at(tensor.file).bytes().data() + tensor.offset;
  return {first + (rows.begin * width + columns.begin) * element, *tensor.dtype, rows.size(), columns.size(),
          width * element};
}

// Columns between those of the slice are others': they are not asked for.
void Checkpoint::prefetch(const TensorInfo& tensor, Range rows, Range columns) const {
  const kernels::StoredRows stored = stored_rows(tensor, rows, columns);
  const MappedFile& file = state_->files.at(tensor.file);
  const auto element = static_cast<std::int64_t>(kernels::size_of(stored.dtype));
  const bool contiguous = stored.cols * element == stored.row_bytes;
  const std::int64_t pieces = contiguous ? 1 : stored.rows;
  const auto bytes = static_cast<std::size_t>(stored.cols * element * (contiguous ? stored.rows : 1));
  if (bytes == 0) return;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    file.prefetch(static_cast<std::size_t>(stored.row(piece) - file.bytes().data()), bytes);
  }
}

// All from the first to the last, since the system maps what stands around a page, too, if it has it.
void Checkpoint::release(const TensorInfo& tensor, Range rows, Range columns) const {
  const kernels::StoredRows stored = stored_rows(tensor, rows, columns);
  if (stored.rows == 0) return;
  const MappedFile& file = state_->files.at(tensor.file);
  const auto bytes = (stored.rows - 1) * stored.row_bytes +
                     stored.cols * static_cast<std::int64_t>(kernels::size_of(stored.dtype));
  file.release(static_cast<std::size_t>(stored.data - file.bytes().data()), static_cast<std::size_t>(bytes));
}

void Checkpoint::read_slice(const TensorInfo& tensor, Range rows, Range columns, DType dtype,
                            void* destination) const {
  const kernels::StoredRows stored = stored_rows(tensor, rows, columns);
  if (dtype == DType::f16) throw std::invalid_argument("read_slice: nothing is converted to f16");
  prefetch(tensor, rows, columns);
  auto* out = static_cast<std::byte*>(destination);
  for (std::int64_t r = 0; r < stored.rows; ++r) {
    convert_elements(stored.row(r), stored.dtype, stored.cols, dtype, out);
    out += static_cast<std::size_t>(stored.cols) * kernels::size_of(dtype);
  }
  release(tensor, rows, columns);
}

}  // namespace sinkstream
