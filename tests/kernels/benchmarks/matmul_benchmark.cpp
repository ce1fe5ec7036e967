#include "tests/kernels/benchmarks/bench_backend.h"

namespace sinkstream::kernels {
namespace {

// Rows of activations by a layer's largest weight: one stream, several, and chunks of a prompt.
void matmul(benchmark::State& state, WeightFormat format) {
  Backend& backend = bench_backend();
  Random random(1);
  const Weight weight = WholeWeight(random, format, kFeedForward, kHidden).on(backend);
  const DeviceTensor x(backend, random.matrix(state.range(0), kHidden));
  const DeviceTensor out(backend, state.range(0), kFeedForward);
  const double bytes = static_cast<double>(backend.packed_bytes(weight.shape)) + bytes_of(x) + bytes_of(out);
  time_calls(state, {bytes, 2.0 * static_cast<double>(state.range(0) * kHidden * kFeedForward)},
             [&] { backend.matmul(x, weight, {}, out); });
}

void products(benchmark::internal::Benchmark* bench) {
  for (const int count : {1, 2, 4, 16, 64, 512}) bench->Arg(count);
  bench->ArgName("rows")->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK_CAPTURE(matmul, f32, WeightFormat::f32)->Apply(products);
BENCHMARK_CAPTURE(matmul, bf16, WeightFormat::bf16)->Apply(products);
BENCHMARK_CAPTURE(matmul, int8, WeightFormat::int8)->Apply(products);
BENCHMARK_CAPTURE(matmul, int4, WeightFormat::int4)->Apply(products);

// What loading does to each weight.
void pack(benchmark::State& state, WeightFormat format) {
  Backend& backend = bench_backend();
  Random random(1);
  const Tensor values = random.matrix(kFeedForward, kHidden);
  const Weight weight = backend.allocate_weight(weight_shape(format, kFeedForward, {0, kHidden}, kHidden));
  const double bytes = static_cast<double>(values.data.size() * sizeof(float));
  time_calls(state, {bytes}, [&] { backend.pack(ConstHostMatrix(values), 0, weight); });
}
BENCHMARK_CAPTURE(pack, f32, WeightFormat::f32)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(pack, bf16, WeightFormat::bf16)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(pack, int8, WeightFormat::int8)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(pack, int4, WeightFormat::int4)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace sinkstream::kernels
