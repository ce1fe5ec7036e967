// Messages between pairs of ranks, posted together and waited for together. Internal: includes mpi.h.
#pragma once

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "parallel/communicator/between_processes.h"

namespace sinkstream {

// Throws std::runtime_error with `what` and MPI's text unless `code` is MPI_SUCCESS.
void check_mpi(int code, const std::string& what);

// All messages of an operation carry its kind and number as their tag, so ranks that drift apart get an error
// instead of one another's data. Nothing here waits inside MPI, whose waiting keeps a core busy and cannot be
// ended.
class MpiExchange {
 public:
  explicit MpiExchange(MPI_Comm comm);

  // Starts the next operation. Throws GroupEnded after end().
  void begin(Operation operation);

  // A block of no bytes is one empty message. `block` stays untouched by the caller until wait() returns.
  void send(int to, std::span<const std::byte> block);
  // The message must fill `block`.
  void receive(int from, std::span<std::byte> block);
  // The message may be shorter; wait() stores its length in `received`.
  void receive_up_to(int from, std::span<std::byte> block, std::size_t* received);

  // Returns when everything posted is done; looks at least every `longest_sleep`.
  void wait(std::chrono::microseconds longest_sleep);

  // Makes a waiting and every later operation throw GroupEnded. Any thread.
  void end(const std::string& reason) { end_.end(reason); }
  // False once an operation has failed or been ended: MPI must not be asked for anything that waits.
  bool whole() const;

 private:
  struct Posted {
    int peer = 0;
    bool receives = false;
    std::size_t bytes = 0;
    std::size_t* received = nullptr;  // null: the length must be `bytes`
  };

  std::string operation_name() const;
  MPI_Request* add(const Posted& posted);
  void receive_piece(int from, std::span<std::byte> piece, std::size_t* received);
  [[noreturn]] void throw_failed() const;
  void check_same_operation(const Posted& posted, const MPI_Status& status) const;
  void check_received(const Posted& posted, const MPI_Status& status) const;

  const MPI_Comm comm_;
  int rank_ = 0;
  int turn_ = 0;
  int tag_ = 0;
  std::vector<Posted> posted_;
  std::vector<MPI_Request> requests_;  // one for each of posted_
  std::vector<MPI_Status> statuses_;

  GroupEnd end_;
};

}  // namespace sinkstream
