// How the ranks of a worker group talk. Passed by reference, never global.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace sinkstream {

// Thrown out of a waiting operation when the group has been ended (see Communicator::abort).
class GroupEnded : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Every rank calls the same operations in the same order. Waiting spins briefly, then yields, then sleeps (up
// to some milliseconds), so that a rank that waits for its next step costs next to nothing. All operations
// are for the rank's main thread, except abort(). Ranks that turn out to be in different operations get a
// std::logic_error, a failing transport is a std::runtime_error; after either the group can only end.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  bool is_leader() const { return rank() == 0; }

  // Replaces `values` by the sum over ranks. Each element is added in rank order, ((r0 + r1) + r2) + ..., so
  // the result is the same on every rank and does not depend on the length or on timing.
  virtual void all_reduce_sum(std::span<float> values) = 0;

  // The leader's message replaces everyone's.
  virtual void broadcast(std::vector<std::byte>& message) = 0;

  // all [size() * mine.size()]: each rank's block in rank order. `mine` has the same length on every rank.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  virtual void barrier() = 0;

  // Makes every waiting and later operation of this rank throw GroupEnded. Any thread.
  virtual void abort(const std::string& reason) = 0;
};

// Gathers one trivially copyable value of every rank, in rank order.
template <typename T>
std::vector<T> all_gather_value(Communicator& communicator, const T& mine) {
  std::vector<T> all(static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  return all;
}

// Gathers one string of every rank, in rank order. Lengths may differ.
std::vector<std::string> all_gather_strings(Communicator& communicator, const std::string& mine);

}  // namespace sinkstream
