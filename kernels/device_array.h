// Elements in a backend's memory, with the memory that they stand in.
#pragma once

#include <span>
#include <string>

#include "kernels/backend.h"

namespace sinkstream::kernels {

template <typename T>
struct DeviceArray {
  Buffer memory;
  DeviceSpan<T> span;
};

// Zeroed.
template <typename T>
DeviceArray<T> allocate_array(Backend& backend, std::int64_t size, const std::string& purpose) {
  Buffer memory = backend.allocate(size * static_cast<std::int64_t>(sizeof(T)), purpose);
  const Address address = memory.address();
  return {std::move(memory), {address, size}};
}

template <typename T>
DeviceArray<T> upload_array(Backend& backend, std::span<const T> values, const std::string& purpose) {
  DeviceArray<T> array = allocate_array<T>(backend, std::ssize(values), purpose);
  backend.upload(std::as_bytes(values), array.span.data);
  return array;
}

}  // namespace sinkstream::kernels
