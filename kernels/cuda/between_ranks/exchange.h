// What ranks exchange of the matrices in their GPUs' memory. Every rank calls the same in the same order with
// the same shapes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/device.h"
#include "kernels/device_memory.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels::cuda {

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual std::string description() const = 0;
  virtual int ranks() const = 0;
  // Whether it is work of the stream, which may be recorded and done again. Else it is done when it is
  // called.
  virtual bool is_queued() const = 0;
  // Whether a sum of so many bytes is.
  virtual bool queues_sum(std::int64_t /*bytes*/) const { return is_queued(); }
  // x = the sum over ranks, each element added in rank order.
  virtual void sum(const Device& device, Matrix x) = 0;
  // all = every rank's matrix, in rank order.   all [ranks * mine.rows, mine.cols]
  virtual void gather(const Device& device, ConstMatrix mine, Matrix all) = 0;
  // Throws what has gone wrong beside the streams: a peer that is gone, say.
  virtual void check_peers() {}
  // What is queued and waits for peers ends soon, whatever becomes of it, as far as the exchange can see to
  // that. The group can only end then.
  virtual void abort() {}
};

// A group of one.
std::unique_ptr<Exchange> make_alone();

// Through this host's memory and the group's communicator, on the calling thread: for ranks that share a GPU,
// where NCCL does not go, and for tests.
std::unique_ptr<Exchange> make_host_exchange(Communicator& group);

// Over NCCL, which is loaded now. `group` is used only here. Throws StartupError (ExitCode::device).
std::unique_ptr<Exchange> make_nccl_exchange(Communicator& group);

// sum[i] = ((parts[0][i] + parts[1][i]) + parts[2][i]) + ...   parts [ranks, elements], sum [elements]
void add_in_rank_order(const Device& device, ConstMatrix parts, Matrix sum);

}  // namespace sinkstream::kernels::cuda
