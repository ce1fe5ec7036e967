#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/show_bytes.h"
#include "kernels/cuda/between_ranks/peer_exchange.h"
#include "kernels/cuda/choosing/gather_logits.h"
#include "kernels/cuda/operations.h"
#include "parallel/host/backoff.h"

namespace sinkstream::kernels {
namespace {

using cuda::check;

// Between two looks at whether work is done; a step takes milliseconds.
constexpr std::chrono::microseconds kLongestSleep{200};

cuda::WeightView view(const Weight& weight) {
  return {weight.shape, weight.memory.address()};
}

// Heads in int8 are for CPUs yet.
void require_numbers(const CacheLayerView& cache) {
  if (cache.ring_type != CacheType::int8) return;
  throw std::invalid_argument("cuda: a ring of int8; the backend has f32 and bf16");
}

std::shared_ptr<void> make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  return {stream, [](void* made) { cudaStreamDestroy(static_cast<cudaStream_t>(made)); }};
}

std::unique_ptr<cuda::Exchange> make_exchange(const CudaOptions& options, Communicator& group) {
  if (group.size() == 1) return cuda::make_alone();
  check(cudaSetDevice(options.device), "choosing a GPU");
  const cuda::PeerOptions peers = {.most_bytes = options.peer_sum_bytes,
                                   .patience = std::chrono::milliseconds(options.peer_patience_ms)};
#ifdef SINKSTREAM_CUDA_EMULATED
  return cuda::make_peer_exchange(cuda::make_host_exchange(group), group, peers);
#else
  // Processes that share a GPU take turns, so kernels that wait for each other's would wait long; ranks of
  // one process would be held up by its calls that wait for the whole GPU.
  if (options.through_host) return cuda::make_host_exchange(group);
  return cuda::make_peer_exchange(cuda::make_nccl_exchange(group), group, peers);
#endif
}

void exchange_sum(const cuda::Device& device, cuda::Exchange* exchange, Matrix x) {
  exchange->sum(device, x);
}

void exchange_gather(const cuda::Device& device, cuda::Exchange* exchange, ConstMatrix mine, Matrix all) {
  exchange->gather(device, mine, all);
}

// Those that this backend made.
cuda::CudaSlotStates& cuda_states(SlotStates& states) {
  return dynamic_cast<cuda::CudaSlotStates&>(states);
}
const cuda::CudaSlotStates& cuda_states(const SlotStates& states) {
  return dynamic_cast<const cuda::CudaSlotStates&>(states);
}

}  // namespace

CudaBackend::CudaBackend(const CudaOptions& options, Communicator& group)
    : CudaBackend(options, make_exchange(options, group)) {}

CudaBackend::CudaBackend(const CudaOptions& options, std::unique_ptr<cuda::Exchange> exchange)
    : exchange_(std::move(exchange)) {
  check(cudaSetDevice(options.device), "choosing a GPU");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, options.device), "what the GPU is");
  name_ = std::string(properties.name) + ", compute capability " + std::to_string(properties.major) + "." +
          std::to_string(properties.minor) + ", " +
          show_bytes(static_cast<std::int64_t>(properties.totalGlobalMem));
  longest_stride_ = properties.memPitch;
  stream_owner_ = make_stream();
  device_ = {.number = options.device,
             .stream = static_cast<cudaStream_t>(stream_owner_.get()),
             .multiprocessors = properties.multiProcessorCount,
             .has_early_launch = properties.major >= 9};
  recorder_ = std::make_unique<cuda::Recorder>(device_);
  uploads_ = std::make_unique<cuda::Uploads>(static_cast<std::size_t>(options.upload_segment_bytes));
  workspace_ = allocate(options.workspace_bytes, "scratch of operations");
  device_.workspace = workspace_.address();
  device_.workspace_bytes = workspace_.bytes();
}

CudaBackend::~CudaBackend() {
  cudaSetDevice(device_.number);
  cudaStreamSynchronize(device_.stream);  // whatever became of it
  recorder_.reset();
}

std::string CudaBackend::description() const {
  return "cuda, " + name_ + (ranks() > 1 ? ", ranks talk " + exchange_->description() : "");
}

cudaStream_t CudaBackend::stream_now() {
  check(cudaSetDevice(device_.number),
        "choosing a GPU");                       // each thread of this process has a choice of its own
  if (recorder_ != nullptr) recorder_->flush();  // there is none while the backend goes
  return device_.stream;
}

// ---- Memory

Buffer CudaBackend::allocate(std::int64_t bytes, const std::string& purpose) {
  if (bytes == 0) return {};
  const cudaStream_t stream = stream_now();
  void* memory = nullptr;
  const bool is_a_size = bytes > 0 && bytes <= std::numeric_limits<std::int64_t>::max() / 2;
  const cudaError_t error =
      is_a_size ? cudaMalloc(&memory, static_cast<std::size_t>(bytes)) : cudaErrorMemoryAllocation;
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is told here, and no later call should tell it again
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "free memory");
    throw StartupError(ExitCode::device, purpose + ": needs " + std::to_string(bytes) +
                                             " bytes on this rank's GPU (" + name_ + "), of which " +
                                             std::to_string(free) + " are free");
  }
  check(error, "memory");
  Buffer buffer = own(memory, bytes, [](void* address) { return cudaFree(address); });
  check(cudaMemsetAsync(memory, 0, static_cast<std::size_t>(bytes), stream), "clearing memory");
  return buffer;
}

// Pinned, so that the GPU copies by itself.
Buffer CudaBackend::allocate_in_host(std::int64_t bytes, const std::string& purpose) {
  if (bytes == 0) return {};
  check(cudaSetDevice(device_.number), "choosing a GPU");
  void* memory = nullptr;
  const bool is_a_size = bytes > 0 && bytes <= std::numeric_limits<std::int64_t>::max() / 2;
  const cudaError_t error =
      is_a_size ? cudaMallocHost(&memory, static_cast<std::size_t>(bytes)) : cudaErrorMemoryAllocation;
  if (error != cudaSuccess) {
    cudaGetLastError();  // it is told here, and no later call should tell it again
    throw StartupError(ExitCode::device,
                       purpose + ": needs " + std::to_string(bytes) +
                           " bytes of this host's memory, pinned for its GPU: " + cudaGetErrorString(error));
  }
  return own(memory, bytes, [](void* address) { return cudaFreeHost(address); });
}

Buffer CudaBackend::own(void* memory, std::int64_t bytes, cudaError_t (*free)(void*)) {
  const std::shared_ptr<void> owner(memory, [this, free](void* address) {
    try {
      cudaStreamSynchronize(stream_now());
    } catch (const std::exception&) {
      // It failed, so nothing is done with the memory any more.
    }
    free(address);
  });
  return {Address{reinterpret_cast<std::uintptr_t>(memory)}, bytes, owner};
}

void CudaBackend::upload(std::span<const std::byte> from, Address to) {
  uploads_->add(from, to, stream_now());
}

void CudaBackend::download(Address from, std::span<std::byte> to) {
  downloads_.add(from, to, marks_ + 1, stream_now());
}

void CudaBackend::discard(Address from, std::int64_t bytes) {
  const cudaStream_t stream = stream_now();
  if (bytes == 0) return;
  check(cudaMemsetAsync(cuda::device_pointer<void>(from), 0, static_cast<std::size_t>(bytes), stream),
        "clearing memory");
}

// Either side may be pinned memory: an address says which memory it is in.
void CudaBackend::do_copy(Address from, Address to, const Pieces& pieces) {
  const cudaStream_t stream = stream_now();
  const auto bytes = static_cast<std::size_t>(pieces.bytes);
  const auto count = static_cast<std::size_t>(pieces.count);
  const auto stride = static_cast<std::size_t>(pieces.stride);
  if (count > 1 && stride <= longest_stride_) {
    check(cudaMemcpy2DAsync(cuda::device_pointer<void>(to), stride, cuda::device_pointer<const void>(from),
                            stride, bytes, count, cudaMemcpyDefault, stream),
          "a copy");
    return;
  }
  for (std::int64_t i = 0; i < pieces.count; ++i) {
    const std::int64_t offset = i * pieces.stride;
    check(cudaMemcpyAsync(cuda::device_pointer<void>(to + offset),
                          cuda::device_pointer<const void>(from + offset), bytes, cudaMemcpyDefault, stream),
          "a copy");
  }
}

// ---- The queue

std::uint64_t CudaBackend::mark() {
  const cudaStream_t stream = stream_now();
  open_marks_.push_back({++marks_, {}});
  open_marks_.back().event.record(stream);
  return marks_;
}

void CudaBackend::wait(std::uint64_t mark) {
  if (mark < 1 || mark > marks_) throw std::invalid_argument("wait: there is no such mark");
  check(cudaSetDevice(device_.number), "choosing a GPU");
  try {
    while (!open_marks_.empty() && open_marks_.front().number <= mark) {
      for (Backoff backoff(kLongestSleep); !open_marks_.front().event.is_done(); backoff.pause()) {
        exchange_->check_peers();
      }
      exchange_->check_peers();  // work ends too when a peer is gone
      open_marks_.pop_front();
    }
  } catch (...) {
    exchange_->abort();  // who frees memory now does not wait for peers that won't come
    throw;
  }
  // What failed after this mark fails the backend too.
  const cudaError_t state = cudaStreamQuery(device_.stream);
  if (state != cudaErrorNotReady) check(state, "work on the GPU");
  downloads_.finish(mark);
}

// ---- Weights

std::int64_t CudaBackend::packed_bytes(const WeightShape& shape) const {
  return cuda::packed_bytes(shape);
}

void CudaBackend::do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) {
  stream_now();
  const std::int64_t row_bytes = rows.cols * std::int64_t{sizeof(float)};
  const std::int64_t most =
      std::max<std::int64_t>(1, device_.workspace_bytes / std::max<std::int64_t>(1, row_bytes));
  std::vector<float> values;
  for (std::int64_t begin = 0; begin < rows.rows; begin += most) {
    const std::int64_t count = std::min(most, rows.rows - begin);
    values.resize(static_cast<std::size_t>(count * rows.cols));
    for (std::int64_t r = 0; r < count; ++r) {
      rows.read(begin + r, std::span(values).subspan(static_cast<std::size_t>(r * rows.cols),
                                                     static_cast<std::size_t>(rows.cols)));
    }
    upload(std::as_bytes(std::span(values)), device_.workspace);
    cuda::pack(device_, Matrix{device_.workspace, count, rows.cols}, first_row + begin, view(weight));
  }
}

// ---- Slots

std::unique_ptr<SlotStates> CudaBackend::make_slot_states(std::int32_t num_slots, std::int64_t vocab_size) {
  Buffer memory = allocate(cuda::CudaSlotStates::bytes(num_slots, vocab_size),
                           "the sampling states of " + std::to_string(num_slots) + " sessions");
  return std::make_unique<cuda::CudaSlotStates>(num_slots, vocab_size, std::move(memory), uploader());
}

void CudaBackend::begin_turn(std::int32_t slot, const SamplingParams& sampling, SlotStates& states) {
  stream_now();
  cuda_states(states).begin_turn(device_, uploader(), slot, sampling);
}

void CudaBackend::end_turn(std::int32_t slot, SlotStates& states) {
  cuda_states(states).end_turn(uploader(), slot);
}

cuda::CudaSlotStates::Upload CudaBackend::uploader() {
  return [this](std::span<const std::byte> from, Address to) { upload(from, to); };
}

void CudaBackend::do_take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                                      DeviceSpan<std::int32_t> tokens) {
  recorder_->add<&cuda::take_last_chosen>(slots, cuda_states(states).view(), tokens);
}

// ---- Operations, in the order of kernels/backend.h

void CudaBackend::do_embed(DeviceSpan<const std::int32_t> tokens, const Weight& table,
                           std::int64_t first_token, Matrix out) {
  recorder_->add<&cuda::embed>(tokens, view(table), first_token, out);
}

void CudaBackend::do_norm(ConstMatrix x, const Norm& norm, Matrix out) {
  recorder_->add<&cuda::norm>(x, norm, out);
}

void CudaBackend::do_row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                                 Matrix moments) {
  recorder_->add<&cuda::row_moments>(x, first_column, columns, moments);
}

void CudaBackend::do_combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts,
                                     float epsilon, Matrix statistics) {
  recorder_->add<&cuda::combine_moments>(moments, counts, epsilon, statistics);
}

void CudaBackend::do_normalize_columns(ConstMatrix statistics, Vector weight, Vector bias,
                                       std::int64_t first_column, Matrix x) {
  recorder_->add<&cuda::normalize_columns>(statistics, weight, bias, first_column, x);
}

void CudaBackend::do_matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out) {
  recorder_->add<&cuda::matmul>(x, view(weight), bias, out);
}

void CudaBackend::do_rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                                   Matrix cosines, Matrix sines) {
  recorder_->add<&cuda::rotary_angles>(positions, inverse_frequencies, cosines, sines);
}

void CudaBackend::do_rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles,
                                      DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                                      const CacheLayerView& cache, Matrix window_queries,
                                      Matrix sink_queries) {
  require_numbers(cache);
  recorder_->add<&cuda::rotate_and_store>(qkv, angles, rows, shard, cache, window_queries, sink_queries);
}

void CudaBackend::do_attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
                               ConstMatrix sink_queries, const CacheLayerView& cache, const HeadShard& shard,
                               float scale, Vector alibi_slopes, Matrix out) {
  require_numbers(cache);
  recorder_->add<&cuda::attention>(rows, window_queries, sink_queries, cache, shard, scale, alibi_slopes,
                                   out);
}

void CudaBackend::do_silu_multiply(ConstMatrix gate_up, Matrix out) {
  recorder_->add<&cuda::silu_multiply>(gate_up, out);
}

void CudaBackend::do_gelu(ConstMatrix x, Matrix out) {
  recorder_->add<&cuda::gelu>(x, out);
}

void CudaBackend::do_gelu_tanh(ConstMatrix x, Matrix out) {
  recorder_->add<&cuda::gelu_tanh>(x, out);
}

void CudaBackend::do_add(ConstMatrix y, Matrix x) {
  recorder_->add<&cuda::add>(y, x);
}

void CudaBackend::do_scale(float factor, Matrix x) {
  recorder_->add<&cuda::scale>(factor, x);
}

void CudaBackend::do_clip(float limit, Matrix x) {
  recorder_->add<&cuda::clip>(limit, x);
}

// ---- Between ranks

template <auto kOperation, typename... Arguments>
void CudaBackend::between_ranks(bool is_queued, const Arguments&... arguments) {
  if (is_queued) {
    recorder_->add<kOperation>(exchange_.get(), arguments...);
  } else {
    stream_now();
    kOperation(device_, exchange_.get(), arguments...);
  }
}

void CudaBackend::do_sum_over_ranks(Matrix x) {
  if (ranks() == 1) return;
  between_ranks<&exchange_sum>(exchange_->queues_sum(x.bytes()), x);
}

void CudaBackend::do_sum_and_norm(Matrix partial, const Norm& norm, Matrix hidden, Matrix normed) {
  do_sum_over_ranks(partial);
  recorder_->add<&cuda::add_and_norm>(partial, norm, hidden, normed);
}

void CudaBackend::do_gather_over_ranks(ConstMatrix mine, Matrix all) {
  between_ranks<&exchange_gather>(exchange_->is_queued(), mine, all);
}

void CudaBackend::do_choose(ConstMatrix logits, Range, std::int64_t vocab_size,
                            DeviceSpan<const ChoiceTask> tasks, SlotStates& states, DeviceSpan<Choice> out) {
  const cuda::SlotStatesView& view = cuda_states(states).view();
  between_ranks<&cuda::gather_and_choose>(exchange_->is_queued(), logits, vocab_size, tasks, view, out);
}

void CudaBackend::do_select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) {
  recorder_->add<&cuda::select_rows>(x, selected, out);
}

}  // namespace sinkstream::kernels
