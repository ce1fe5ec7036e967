#include "kernels/cuda/early_launch.h"
#include "tests/gpus/stub_exchange.h"

namespace sinkstream::kernels::cuda {
namespace {

__global__ void wait_kernel(std::uint64_t nanoseconds) {
  begin_after_previous();
  std::uint64_t begin, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - begin < nanoseconds);
}

class StubExchange final : public Exchange {
 public:
  StubExchange(int ranks, float microseconds)
      : ranks_(ranks), nanoseconds_(static_cast<std::uint64_t>(microseconds * 1000)) {}

  std::string description() const override { return "with nobody: a stub"; }
  int ranks() const override { return ranks_; }
  bool is_queued() const override { return true; }
  void sum(const Device& device, Matrix) override { wait(device); }
  void gather(const Device& device, ConstMatrix mine, Matrix all) override {
    for (int rank = 0; rank < ranks_; ++rank) {
      check(cudaMemcpyAsync(device_pointer<void>(all.data + rank * mine.bytes()),
                            device_pointer<const void>(mine.data), static_cast<std::size_t>(mine.bytes()),
                            cudaMemcpyDeviceToDevice, device.stream),
            "a copy");
    }
    wait(device);
  }

 private:
  void wait(const Device& device) const {
    launch_early(device, wait_kernel, {dim3(1), dim3(1)}, nanoseconds_);
  }

  int ranks_;
  std::uint64_t nanoseconds_;
};

}  // namespace

std::unique_ptr<Exchange> make_stub_exchange(int ranks, float microseconds) {
  return std::make_unique<StubExchange>(ranks, microseconds);
}

}  // namespace sinkstream::kernels::cuda
