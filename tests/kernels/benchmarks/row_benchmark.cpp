// Operations that take a row at a time, and do little to each element: memory is what bounds them.
#include <algorithm>
#include <numeric>

#include "tests/kernels/benchmarks/bench_backend.h"

namespace sinkstream::kernels {
namespace {

void rows(benchmark::internal::Benchmark* bench) {
  bench->ArgName("rows")->Arg(1)->Arg(128)->UseRealTime();
}

void norm(benchmark::State& state, NormKind kind) {
  Backend& backend = bench_backend();
  Random random(4);
  const DeviceTensor x(backend, random.matrix(state.range(0), kHidden)),
      out(backend, state.range(0), kHidden);
  const OnDevice<float> weight(backend, random.numbers(kHidden));
  const OnDevice<float> bias(backend, random.numbers(kind == NormKind::layer ? kHidden : 0));
  time_calls(state, {bytes_of(x) + bytes_of(out)}, [&] {
    backend.norm(x, {kind, 1e-5f, weight, bias}, out);
  });
}
BENCHMARK_CAPTURE(norm, rms, NormKind::rms)->Apply(rows);
BENCHMARK_CAPTURE(norm, layer, NormKind::layer)->Apply(rows);

// A layer norm over features that are spread over ranks, of one.
void norm_by_moments(benchmark::State& state) {
  Backend& backend = bench_backend();
  Random random(5);
  const std::int64_t count = state.range(0);
  const DeviceTensor x(backend, random.matrix(count, kHidden)), moments(backend, count, 2),
      statistics(backend, count, 2);
  const OnDevice<std::int64_t> counts(backend, {kHidden});
  const OnDevice<float> weight(backend, random.numbers(kHidden));
  time_calls(state, {3 * bytes_of(x)}, [&] {
    backend.row_moments(x, 0, kHidden, moments);
    backend.combine_moments(moments, counts, 1e-5f, statistics);
    backend.normalize_columns(statistics, weight, {}, 0, x);
  });
}
BENCHMARK(norm_by_moments)->Apply(rows);

void silu_multiply(benchmark::State& state) {
  Backend& backend = bench_backend();
  Random random(6);
  const DeviceTensor gate_up(backend, random.matrix(state.range(0), 2 * kFeedForward));
  const DeviceTensor out(backend, state.range(0), kFeedForward);
  time_calls(state, {bytes_of(gate_up) + bytes_of(out)}, [&] { backend.silu_multiply(gate_up, out); });
}
BENCHMARK(silu_multiply)->Apply(rows);

void activation(benchmark::State& state, void (Backend::*function)(ConstMatrix, Matrix)) {
  Backend& backend = bench_backend();
  Random random(7);
  const DeviceTensor x(backend, random.matrix(state.range(0), kFeedForward)),
      out(backend, state.range(0), kFeedForward);
  time_calls(state, {bytes_of(x) + bytes_of(out)}, [&] { (backend.*function)(x, out); });
}
BENCHMARK_CAPTURE(activation, gelu, &Backend::gelu)->Apply(rows);
BENCHMARK_CAPTURE(activation, gelu_tanh, &Backend::gelu_tanh)->Apply(rows);

// Values stay what they are, however often it is called.
void add(benchmark::State& state) {
  Backend& backend = bench_backend();
  const DeviceTensor x(backend, Tensor(state.range(0), kHidden)), y(backend, Tensor(state.range(0), kHidden));
  time_calls(state, {3 * bytes_of(x)}, [&] { backend.add(y, x); });
}
void scale(benchmark::State& state) {
  Backend& backend = bench_backend();
  const DeviceTensor x(backend, Random(8).matrix(state.range(0), kHidden));
  time_calls(state, {2 * bytes_of(x)}, [&] { backend.scale(1, x); });
}
void clip(benchmark::State& state) {
  Backend& backend = bench_backend();
  const DeviceTensor x(backend, Random(9).matrix(state.range(0), kHidden));
  time_calls(state, {2 * bytes_of(x)}, [&] { backend.clip(0.5f, x); });
}
BENCHMARK(add)->Apply(rows);
BENCHMARK(scale)->Apply(rows);
BENCHMARK(clip)->Apply(rows);

void embed(benchmark::State& state, WeightFormat format) {
  Backend& backend = bench_backend();
  Random random(10);
  const Weight table = WholeWeight(random, format, kVocabulary, kHidden).on(backend);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(i * 7919 % kVocabulary);
  const OnDevice<std::int32_t> of_rows(backend, tokens);
  const DeviceTensor out(backend, state.range(0), kHidden);
  time_calls(state, {bytes_of(out)}, [&] { backend.embed(of_rows, table, 0, out); });
}
BENCHMARK_CAPTURE(embed, bf16, WeightFormat::bf16)->Apply(rows);
BENCHMARK_CAPTURE(embed, int4, WeightFormat::int4)->Apply(rows);

void select_rows(benchmark::State& state) {
  Backend& backend = bench_backend();
  const DeviceTensor x(backend, Random(11).matrix(state.range(0), kHidden)),
      out(backend, state.range(0), kHidden);
  std::vector<std::int32_t> all(static_cast<std::size_t>(state.range(0)));
  std::iota(all.rbegin(), all.rend(), 0);
  const OnDevice<std::int32_t> selected(backend, all);
  time_calls(state, {2 * bytes_of(x)}, [&] { backend.select_rows(x, selected, out); });
}
BENCHMARK(select_rows)->Apply(rows);

// A session that is put aside: a piece for each head of a ring.
void copy(benchmark::State& state) {
  Backend& backend = bench_backend();
  constexpr Pieces kPieces = {.bytes = 1 << 20, .count = 32, .stride = 3 << 20};
  const Buffer from = backend.allocate(kPieces.stride * kPieces.count, "a benchmark");
  const Buffer to = backend.allocate_in_host(kPieces.stride * kPieces.count, "a benchmark");
  time_calls(state, {2.0 * kPieces.bytes * kPieces.count},
             [&] { backend.copy(from.address(), to.address(), kPieces); });
}
BENCHMARK(copy)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace sinkstream::kernels
