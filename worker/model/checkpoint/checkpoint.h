// Reads safetensors files: one `model.safetensors`, or several with `model.safetensors.index.json`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/stored_rows.h"
#include "parallel/shard_plan.h"

namespace sinkstream {

struct TensorInfo {
  std::string file;                     // which file it stands in, a name within the directory
  std::string type;                     // as the file names it, e.g. "BF16"
  std::optional<kernels::DType> dtype;  // none: a type that weights are not read from, e.g. "I64"
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  // first byte, from the file's start
  std::uint64_t bytes = 0;
};

// The headers are checked whole before anything is used: lengths, offsets without overlap or hole, shape *
// size of the type = bytes, known types, no duplicates, nothing behind the end, no file outside the
// directory. Throws StartupError (ExitCode::model) that names file and tensor, before any large allocation.
class Checkpoint {
 public:
  // `tied`: the names of one matrix. An index may name those that its files lack, and leave out others that
  // they hold.
  explicit Checkpoint(const std::filesystem::path& directory, const std::vector<std::string>& tied = {});
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  const std::map<std::string, TensorInfo>& tensors() const;
  bool contains(const std::string& name) const;
  // Throws unless the tensor is there, has this shape and a type that weights are read from.
  const TensorInfo& expect(const std::string& name, const std::vector<std::int64_t>& shape) const;

  // Whether any weight is stored as f16, which bf16 cannot hold exactly.
  bool holds_f16() const;

  // For complaints: "dir/file: tensor "name": reason".
  [[noreturn]] void refuse(const std::string& name, const std::string& reason) const;

  // A hash of all headers and of samples of each tensor, the same on every rank that sees the same files.
  std::uint64_t fingerprint() const;

  // Rows and columns of a matrix (or of a vector, as one column), where they stand in the mapped file: only
  // the pages that hold them are read, and only when they are.
  kernels::StoredRows stored_rows(const TensorInfo& tensor, Range rows, Range columns) const;
  // Asks the system to read them from disk, and does not wait.
  void prefetch(const TensorInfo& tensor, Range rows, Range columns) const;
  // They have been used: this process has no memory for them until they are used again.
  void release(const TensorInfo& tensor, Range rows, Range columns) const;

  // Copies them into `destination`, converted to `dtype` (f32 or bf16), one row after the other.
  void read_slice(const TensorInfo& tensor, Range rows, Range columns, kernels::DType dtype,
                  void* destination) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
