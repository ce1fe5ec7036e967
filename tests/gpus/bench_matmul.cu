// Times of matmul on a GPU, and whether its results have the bits that they must have.
// Each time is the median of several graphs of matmuls, one after the other, of weights that together don't
// fit into the second-level cache. `early`: kernels may begin before the previous one has ended.
#include <cublasLt.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/operations.h"
#include "tests/gpus/copy_rate.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr std::int64_t kPoolBytes = std::int64_t{2} << 30;
constexpr std::int64_t kCacheBytes = std::int64_t{256} << 20;  // more than any cache of now
constexpr std::int64_t kMostRows = 2048;

void check_lt(cublasStatus_t status, const char* what_for) {
  if (status != CUBLAS_STATUS_SUCCESS) throw std::runtime_error(std::string(what_for) + ": cuBLASLt failed");
}

struct Memory {
  explicit Memory(std::int64_t size) : bytes(size) { check(cudaMalloc(&data, size), "memory"); }
  ~Memory() { cudaFree(data); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  Address address() const { return Address{reinterpret_cast<std::uintptr_t>(data)}; }

  void* data = nullptr;
  std::int64_t bytes;
};

__device__ std::uint32_t hash(std::uint32_t i) {
  i = (i ^ 61u) ^ (i >> 16);
  i *= 9u;
  i ^= i >> 4;
  i *= 0x27d4eb2du;
  return i ^ (i >> 15);
}

// Pairs of bf16 below 2 in magnitude: any bytes are values and scales.
__global__ void fill_pairs(std::uint32_t* to, std::int64_t count) {
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    to[i] = hash(static_cast<std::uint32_t>(i)) & 0xbfffbfffu;
  }
}

__global__ void fill_floats(float* to, std::int64_t count, std::uint32_t seed) {
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    to[i] = static_cast<float>(hash(static_cast<std::uint32_t>(i) + seed) >> 8) * 0x1p-23f - 1.0f;
  }
}

struct Bench {
  Device device;
  cudaStream_t stream = nullptr;
  Memory workspace{std::int64_t{128} << 20};
  Memory pool{kPoolBytes};
  Memory x{kMostRows * 32768 * 4};
  Memory out{kMostRows * 32768 * 4};
  double copy_bytes = 0;  // a second
  cublasLtHandle_t lt = nullptr;

  Bench() {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "properties");
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    device.stream = stream;
    device.multiprocessors = properties.multiProcessorCount;
    device.has_early_launch = properties.major >= 9;
    device.workspace = workspace.address();
    device.workspace_bytes = workspace.bytes;
    check_lt(cublasLtCreate(&lt), "cuBLASLt");
    fill_pairs<<<4096, 256, 0, stream>>>(static_cast<std::uint32_t*>(pool.data), pool.bytes / 4);
    fill_floats<<<4096, 256, 0, stream>>>(static_cast<float*>(x.data), x.bytes / 4, 1);
    check(cudaStreamSynchronize(stream), "filling");
    copy_bytes = 1e9 * copy_rate();
    std::printf("%s, %d multiprocessors, copies at %.0f GB/s\n", properties.name,
                properties.multiProcessorCount, copy_bytes / 1e9);
  }

  // Of one call; `calls` of them are a graph, which is launched `times` times.
  double seconds_of(const std::function<void(int)>& call, int calls, int times) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "a graph");
    for (int i = 0; i < calls; ++i) call(i);
    check(cudaStreamEndCapture(stream, &graph), "a graph");
    check(cudaGraphInstantiate(&exec, graph, 0), "a graph");
    cudaEvent_t begin, end;
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
    std::vector<double> seconds;
    for (int i = 0; i <= times; ++i) {
      cudaEventRecord(begin, stream);
      check(cudaGraphLaunch(exec, stream), "a graph");
      cudaEventRecord(end, stream);
      check(cudaStreamSynchronize(stream), "a graph");
      float milliseconds = 0;
      cudaEventElapsedTime(&milliseconds, begin, end);
      if (i > 0) seconds.push_back(milliseconds / 1e3 / calls);
    }
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::ranges::nth_element(seconds, seconds.begin() + times / 2);
    return seconds[times / 2];
  }

  int calls_of(std::int64_t weight_bytes, double estimate) const {
    const auto wanted = static_cast<std::int64_t>(2e-3 / estimate);
    return static_cast<int>(
        std::clamp<std::int64_t>(std::max(wanted, kCacheBytes / weight_bytes + 1), 4, 200));
  }

  void matmuls(WeightFormat format, std::int64_t out_features, std::int64_t in_features);
  double library(std::int64_t rows, std::int64_t out_features, std::int64_t in_features);
  bool same_bits(WeightFormat format);
};

// cuBLASLt's own time for bf16, with a result in float32.
double Bench::library(std::int64_t rows, std::int64_t out_features, std::int64_t in_features) {
  constexpr std::size_t kLibraryWorkspace = 64 << 20;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, d;
  check_lt(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed));
  cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, in_features, out_features, in_features);
  cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, in_features, rows, in_features);
  cublasLtMatrixLayoutCreate(&d, CUDA_R_32F, out_features, rows, out_features);
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                       &kLibraryWorkspace, sizeof(kLibraryWorkspace));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  check_lt(cublasLtMatmulAlgoGetHeuristic(lt, operation, a, b, d, d, preference, 1, &found, &count),
           "an algorithm");
  const float one = 1, zero = 0;
  const std::int64_t weight_bytes = out_features * in_features * 2;
  const double flops = 2.0 * static_cast<double>(rows * out_features * in_features);
  const auto* const weights = static_cast<const std::byte*>(pool.data);
  const std::int64_t x_bytes = rows * in_features * 2;
  const std::int64_t weights_in_pool = (pool.bytes - x_bytes) / weight_bytes;
  const double seconds = seconds_of(
      [&](int i) {
        check_lt(cublasLtMatmul(lt, operation, &one, weights + x_bytes + i % weights_in_pool * weight_bytes,
                                a, weights, b, &zero, out.data, d, out.data, d, &found.algo, workspace.data,
                                kLibraryWorkspace, stream),
                 "a product");
      },
      calls_of(weight_bytes, flops / 500e12), 5);
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatrixLayoutDestroy(a);
  cublasLtMatrixLayoutDestroy(b);
  cublasLtMatrixLayoutDestroy(d);
  cublasLtMatmulDescDestroy(operation);
  return seconds;
}

void Bench::matmuls(WeightFormat format, std::int64_t out_features, std::int64_t in_features) {
  const WeightShape shape = weight_shape(format, out_features, {0, in_features}, in_features);
  const std::int64_t bytes = packed_bytes(shape);
  const std::int64_t step = (bytes + 255) / 256 * 256;
  const std::int64_t weights = pool.bytes / step;
  for (const std::int64_t rows : {1, 4, 8, 16, 64, 512, 2048}) {
    if (format == WeightFormat::f32 && rows > 64) continue;
    const double flops = 2.0 * static_cast<double>(rows * out_features * in_features);
    const auto run = [&](bool early) {
      Device with = device;
      with.has_early_launch = early && device.has_early_launch;
      return seconds_of(
          [&](int i) {
            matmul(with, Matrix{x.address(), rows, in_features},
                   WeightView{shape, pool.address() + i % weights * step}, {},
                   {out.address(), rows, out_features});
          },
          calls_of(bytes, std::max(static_cast<double>(bytes) / copy_bytes, flops / 300e12)), 5);
    };
    const double seconds = run(true);
    const double moved = static_cast<double>(bytes + rows * (in_features + out_features) *
                                                         static_cast<std::int64_t>(sizeof(float)));
    std::printf("%-4s %5ld -> %5ld  %4ld rows  %8.2f us  %5.0f GB/s  %3.0f %% of copies  %5.1f TFLOP/s",
                std::string(name_of(format)).c_str(), static_cast<long>(in_features),
                static_cast<long>(out_features), static_cast<long>(rows), seconds * 1e6,
                moved / seconds / 1e9, 100 * moved / seconds / copy_bytes, flops / seconds / 1e12);
    if (rows <= 64) std::printf("  (not early %.2f us)", run(false) * 1e6);
    if (rows >= 64 && format != WeightFormat::f32) {
      const double library_seconds = library(rows, out_features, in_features);
      std::printf("  cuBLASLt bf16 %.2f us, %.1f TFLOP/s: %.0f %% of it", library_seconds * 1e6,
                  flops / library_seconds / 1e12, 100 * library_seconds / seconds);
    }
    std::printf("\n");
  }
}

// What a row gives alone it gives among any number of rows, and both are near the sum in float64.
bool Bench::same_bits(WeightFormat format) {
  constexpr std::int64_t kOut = 300, kIn = 4136, kAll = 300;
  const WeightShape shape = weight_shape(format, kOut, {0, kIn}, kIn);
  Memory rows(kOut * kIn * 4), weight(packed_bytes(shape)), values(kOut * kIn * 4), tokens(kOut * 4);
  fill_floats<<<1024, 256, 0, stream>>>(static_cast<float*>(rows.data), kOut * kIn, 7);
  check(cudaMemsetAsync(weight.data, 0, weight.bytes, stream), "zeroes");
  const WeightView view{shape, weight.address()};
  pack(device, Matrix{rows.address(), kOut, kIn}, 0, view);
  std::vector<std::int32_t> all(kOut);
  for (int i = 0; i < kOut; ++i) all[i] = i;
  check(cudaMemcpy(tokens.data, all.data(), kOut * 4, cudaMemcpyHostToDevice), "tokens");
  embed(device, {tokens.address(), kOut}, view, 0, {values.address(), kOut, kIn});
  const auto results_of = [&](std::int64_t count) {
    check(cudaMemsetAsync(out.data, 0xff, kAll * kOut * 4, stream), "ones");
    for (std::int64_t r = 0; r < kAll; r += count) {
      const std::int64_t here = std::min(count, kAll - r);
      matmul(device, Matrix{x.address() + r * kIn * 4, here, kIn}, view, {},
             {out.address() + r * kOut * 4, here, kOut});
    }
    std::vector<float> results(kAll * kOut);
    check(cudaStreamSynchronize(stream), "results");
    check(cudaMemcpy(results.data(), out.data, results.size() * 4, cudaMemcpyDeviceToHost), "results");
    return results;
  };
  const std::vector<float> alone = results_of(1);
  bool same = true;
  for (const std::int64_t count : {3, 8, 9, 16, 20, 33, 64, 65, 300}) {
    const std::vector<float> together = results_of(count);
    if (std::memcmp(alone.data(), together.data(), alone.size() * 4) == 0) continue;
    same = false;
    std::printf("%s: rows of %ld together have other bits\n", std::string(name_of(format)).c_str(),
                static_cast<long>(count));
  }
  std::vector<float> weights(kOut * kIn), inputs(kIn);
  check(cudaMemcpy(weights.data(), values.data, weights.size() * 4, cudaMemcpyDeviceToHost), "values");
  double worst = 0;
  for (std::int64_t r = 0; r < kAll; r += 37) {
    check(cudaMemcpy(inputs.data(), static_cast<float*>(x.data) + r * kIn, kIn * 4, cudaMemcpyDeviceToHost),
          "x");
    for (std::int64_t o = 0; o < kOut; ++o) {
      double sum = 0, magnitude = 0;
      for (std::int64_t i = 0; i < kIn; ++i) {
        const double x_i = format == WeightFormat::f32 ? inputs[i] : to_float(to_bfloat16(inputs[i]));
        sum += x_i * weights[o * kIn + i];
        magnitude += std::abs(x_i * weights[o * kIn + i]);
      }
      worst = std::max(worst, std::abs(sum - alone[r * kOut + o]) / magnitude);
    }
  }
  std::printf("%s: a row has %s bits among others, off by %.1e of its magnitude at most\n",
              std::string(name_of(format)).c_str(), same ? "the same" : "OTHER", worst);
  return same && worst < 1e-5;
}

int run(const std::vector<std::string>& names) {
  Bench bench;
  bool good = true;
  std::vector<WeightFormat> formats;
  for (const WeightFormat format :
       {WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4, WeightFormat::f32}) {
    if (!names.empty() && std::ranges::find(names, name_of(format)) == names.end()) continue;
    formats.push_back(format);
    good = bench.same_bits(format) && good;
  }
  struct Layer {
    std::int64_t out_features, in_features;
  };
  // 7B on one GPU, then a 70B's rank of eight: qkv, out, gate and up, down, logits.
  constexpr Layer kLayers[] = {{12288, 4096}, {4096, 4096}, {22016, 4096}, {4096, 11008}, {32000, 4096},
                               {1280, 8192},  {8192, 1024}, {7168, 8192},  {8192, 3584},  {16032, 8192}};
  for (const WeightFormat format : formats) {
    for (const Layer& layer : kLayers) {
      if (format == WeightFormat::f32 && layer.out_features * layer.in_features > (1 << 24)) continue;
      bench.matmuls(format, layer.out_features, layer.in_features);
      std::fflush(stdout);
    }
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace sinkstream::kernels::cuda

int main(int argc, char** argv) {
  try {
    return sinkstream::kernels::cuda::run({argv + 1, argv + argc});
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}
