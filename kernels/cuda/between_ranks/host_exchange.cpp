#include <vector>

#include "kernels/cuda/between_ranks/exchange.h"

namespace sinkstream::kernels::cuda {
namespace {

class Alone final : public Exchange {
 public:
  std::string description() const override { return "alone"; }
  int ranks() const override { return 1; }
  bool is_queued() const override { return true; }
  void sum(const Device&, Matrix) override {}
  void gather(const Device& device, ConstMatrix mine, Matrix all) override {
    check(cudaMemcpyAsync(device_pointer<void>(all.data), device_pointer<const void>(mine.data),
                          static_cast<std::size_t>(mine.bytes()), cudaMemcpyDeviceToDevice, device.stream),
          "a copy");
  }
};

class HostExchange final : public Exchange {
 public:
  explicit HostExchange(Communicator& group) : group_(group) {}

  std::string description() const override { return "through the host"; }
  int ranks() const override { return group_.size(); }
  bool is_queued() const override { return false; }

  void sum(const Device& device, Matrix x) override {
    std::vector<float> values = read(device, x);
    group_.all_reduce_sum(values);
    write(device, values, x);
  }

  void gather(const Device& device, ConstMatrix mine, Matrix all) override {
    const std::vector<float> values = read(device, mine);
    std::vector<float> gathered(values.size() * static_cast<std::size_t>(group_.size()));
    group_.all_gather(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(gathered)));
    write(device, gathered, all);
  }

 private:
  static std::vector<float> read(const Device& device, ConstMatrix from) {
    std::vector<float> values(static_cast<std::size_t>(from.rows * from.cols));
    check(cudaMemcpyAsync(values.data(), device_pointer<const void>(from.data),
                          static_cast<std::size_t>(from.bytes()), cudaMemcpyDeviceToHost, device.stream),
          "a download");
    check(cudaStreamSynchronize(device.stream), "work on the GPU");
    return values;
  }
  static void write(const Device& device, const std::vector<float>& values, Matrix to) {
    check(cudaMemcpyAsync(device_pointer<void>(to.data), values.data(), values.size() * sizeof(float),
                          cudaMemcpyHostToDevice, device.stream),
          "an upload");
    check(cudaStreamSynchronize(device.stream), "work on the GPU");
  }

  Communicator& group_;
};

}  // namespace

std::unique_ptr<Exchange> make_alone() {
  return std::make_unique<Alone>();
}

std::unique_ptr<Exchange> make_host_exchange(Communicator& group) {
  return std::make_unique<HostExchange>(group);
}

}  // namespace sinkstream::kernels::cuda
