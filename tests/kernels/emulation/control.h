// What tests set and ask of the emulated GPUs of this process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sinkstream::kernels::cuda::emulation {

// How many there are and what each has; while nothing is allocated.
void set_devices(int count);
void set_memory(std::size_t bytes_of_a_device);
// Driver and runtime, as 13000 for 13.0.
void set_versions(int driver, int runtime);

// Whether devices reach each other's memory, and whether processes may share theirs; at first they do.
void set_peer_access(bool allowed);
void set_sharing(bool allowed);
// Memory of other processes that is opened is another's, as on machines whose GPUs don't do what they say.
void misdirect_sharing(bool misdirected);
// Memory of others that is open now.
int open_handles();

// The number of the next kernel's schedule; each kernel takes one.
void set_schedule(std::uint64_t number);

// The n-th allocation from now on the device, or of pinned memory, fails; 0: none.
void fail_allocation(int n);
// The n-th kernel from now fails as it is done; 0: none.
void fail_kernel(int n);

// What is allocated now, and how often anything was.
std::size_t allocated_bytes();
std::uint64_t allocations();
// Kernels that were done.
std::uint64_t kernels_done();

}  // namespace sinkstream::kernels::cuda::emulation
