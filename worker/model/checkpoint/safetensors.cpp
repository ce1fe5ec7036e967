#include "worker/model/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/stand_in.h"
#include "base/strict_json.h"

namespace sinkstream {
namespace {

using kernels::DType;
using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLargestHeader = 100'000'000;  // the reference implementation's limit

struct StoredType {
  std::string_view name;
  std::uint64_t bytes;
  std::optional<DType> dtype;
};

constexpr StoredType kStoredTypes[] = {
    {"F32", 4, DType::f32},       {"BF16", 2, DType::bf16},     {"F16", 2, DType::f16},
    {"F64", 8, std::nullopt},     {"I64", 8, std::nullopt},     {"U64", 8, std::nullopt},
    {"I32", 4, std::nullopt},     {"U32", 4, std::nullopt},     {"I16", 2, std::nullopt},
    {"U16", 2, std::nullopt},     {"I8", 1, std::nullopt},      {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},    {"F8_E4M3", 1, std::nullopt}, {"F8_E5M2", 1, std::nullopt},
    {"F8_E8M0", 1, std::nullopt}, {"C64", 8, std::nullopt},
};

[[noreturn]] void refuse_file(const std::string& path, const std::string& reason) {
  throw StartupError(ExitCode::model, path + ": " + reason);
}

// What does not even begin as such a file may be a pointer to it, or an error page.
[[noreturn]] void refuse_beginning(std::span<const std::byte> contents, const std::string& path,
                                   const std::string& reason) {
  refuse_stand_in({reinterpret_cast<const char*>(contents.data()), contents.size()}, path);
  refuse_file(path, reason);
}

// One tensor's entry in the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}.
class EntryParser {
 public:
  EntryParser(const std::string& path, const std::string& name, const json& entry)
      : path_(path), name_(name), entry_(entry) {}

  // `data_start`, `data_bytes`: where the tensors' bytes begin in the file, and how many there are.
  TensorInfo parse(const std::string& file, std::uint64_t data_start, std::uint64_t data_bytes) const {
    if (!entry_.is_object()) refuse("its entry is not an object");
    const StoredType& stored = stored_type();
    TensorInfo tensor{
        .file = file, .type = std::string(stored.name), .dtype = stored.dtype, .shape = shape()};
    const std::vector<std::uint64_t> offsets = numbers("data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1])
      refuse("data_offsets must be [begin, end] with begin <= end");
    if (offsets[1] > data_bytes) {
      refuse("ends at byte " + std::to_string(offsets[1]) + " of the data, but the file holds only " +
             std::to_string(data_bytes) + "; is it truncated?");
    }
    tensor.offset = data_start + offsets[0];
    tensor.bytes = offsets[1] - offsets[0];
    if (tensor.bytes != bytes_of(tensor.shape, stored.bytes)) {
      refuse("shape and dtype do not make the " + std::to_string(tensor.bytes) +
             " bytes that data_offsets give");
    }
    return tensor;
  }

 private:
  [[noreturn]] void refuse(const std::string& reason) const {
    refuse_file(path_, "tensor " + in_quotes(name_) + ": " + reason);
  }

  const json& field(const char* key) const {
    const auto found = entry_.find(key);
    if (found == entry_.end()) refuse(std::string(key) + " is missing");
    return *found;
  }

  const StoredType& stored_type() const {
    const json& dtype = field("dtype");
    if (!dtype.is_string()) refuse("dtype is not a text");
    const auto* found =
        std::ranges::find(kStoredTypes, dtype.get_ref<const std::string&>(), &StoredType::name);
    if (found == std::end(kStoredTypes))
      refuse("unknown dtype " + in_quotes(dtype.get_ref<const std::string&>()));
    return *found;
  }

  std::vector<std::uint64_t> numbers(const char* key) const {
    const json& list = field(key);
    if (!list.is_array()) refuse(std::string(key) + " is not a list");
    std::vector<std::uint64_t> numbers;
    for (const json& number : list) {
      if (!number.is_number_unsigned()) refuse(std::string(key) + " holds " + printable(number.dump()));
      numbers.push_back(number.get<std::uint64_t>());
    }
    return numbers;
  }

  std::vector<std::int64_t> shape() const {
    std::vector<std::int64_t> shape;
    for (const std::uint64_t size : numbers("shape")) {
      if (size > std::numeric_limits<std::int64_t>::max()) refuse("shape is too large");
      shape.push_back(static_cast<std::int64_t>(size));
    }
    return shape;
  }

  std::uint64_t bytes_of(const std::vector<std::int64_t>& shape, std::uint64_t element_bytes) const {
    std::uint64_t bytes = element_bytes;
    for (const std::int64_t size : shape) {
      if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes))
        refuse("shape is too large");
    }
    return bytes;
  }

  const std::string& path_;
  const std::string& name_;
  const json& entry_;
};

// The tensors must cover the data exactly: one after the other, from its first byte to its last.
void check_coverage(const std::map<std::string, TensorInfo>& tensors, std::uint64_t data_start,
                    std::uint64_t file_bytes, const std::string& path) {
  std::vector<std::pair<const TensorInfo*, const std::string*>> by_offset;
  for (const auto& [name, tensor] : tensors) by_offset.emplace_back(&tensor, &name);
  std::ranges::sort(by_offset, {},
                    [](const auto& item) { return std::pair(item.first->offset, item.first->bytes); });
  std::uint64_t end = data_start;
  for (const auto& [tensor, name] : by_offset) {
    if (tensor->offset != end) {
      refuse_file(path, "tensor " + in_quotes(*name) +
                            (tensor->offset < end ? ": overlaps the one before it"
                                                  : ": unused bytes stand before it"));
    }
    end += tensor->bytes;
  }
  if (end != file_bytes) {
    refuse_file(path, std::to_string(file_bytes - end) + " bytes stand behind the last tensor");
  }
}

void check_metadata(const json& metadata, const std::string& path) {
  const auto is_text = [](const json& value) { return value.is_string(); };
  if (!metadata.is_object() || !std::ranges::all_of(metadata, is_text)) {
    refuse_file(path, "\"__metadata__\" must be an object of texts");
  }
}

}  // namespace

std::size_t safetensors_header_end(std::span<const std::byte> contents, const std::string& path) {
  std::uint64_t length = 0;  // little-endian, as every machine that this runs on
  if (contents.size() < kLengthBytes)
    refuse_beginning(contents, path, "shorter than 8 bytes, this is no safetensors file");
  std::memcpy(&length, contents.data(), kLengthBytes);
  if (length > kLargestHeader) {
    refuse_beginning(contents, path,
                     "a header of " + std::to_string(length) + " bytes; this is no safetensors file");
  }
  if (length > contents.size() - kLengthBytes) {
    refuse_beginning(contents, path,
                     "its header of " + std::to_string(length) + " bytes does not fit the file of " +
                         std::to_string(contents.size()) + " bytes; is it truncated?");
  }
  return kLengthBytes + length;
}

std::map<std::string, TensorInfo> parse_safetensors(std::span<const std::byte> contents,
                                                    const std::string& path, const std::string& file) {
  const std::size_t data_start = safetensors_header_end(contents, path);
  const std::string_view text(reinterpret_cast<const char*>(contents.data()) + kLengthBytes,
                              data_start - kLengthBytes);
  if (!text.starts_with('{'))
    refuse_beginning(contents, path, "its header does not begin with '{'; this is no safetensors file");
  const json header = parse_strict_json(text, path);

  std::map<std::string, TensorInfo> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      check_metadata(entry, path);
    } else {
      tensors.emplace(name,
                      EntryParser(path, name, entry).parse(file, data_start, contents.size() - data_start));
    }
  }
  check_coverage(tensors, data_start, contents.size(), path);
  return tensors;
}

}  // namespace sinkstream
