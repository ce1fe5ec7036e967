// Times oneDNN's float32 products, weights packed as it likes them best: onednn_gemm M K N. Prints GFLOP/s.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const dnnl::memory::dim m = std::atol(argv[1]), k = std::atol(argv[2]), n = std::atol(argv[3]);
  using Tag = dnnl::memory::format_tag;
  const auto type = dnnl::memory::data_type::f32;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl::memory::desc x_desc({m, k}, type, Tag::ab), w_desc({k, n}, type, Tag::any), y_desc({m, n}, type, Tag::ab);
#if DNNL_VERSION_MAJOR < 3
  const dnnl::matmul::primitive_desc product({x_desc, w_desc, y_desc}, engine);
#else
  const dnnl::matmul::primitive_desc product(engine, x_desc, w_desc, y_desc);
#endif
  dnnl::memory x(x_desc, engine), y(y_desc, engine), w(product.weights_desc(), engine);
  std::fill_n(static_cast<float*>(x.get_data_handle()), m * k, 0.5f);
  std::fill_n(static_cast<float*>(w.get_data_handle()), w.get_desc().get_size() / sizeof(float), 0.25f);
  const dnnl::matmul matmul(product);
  std::vector<double> seconds;
  for (int i = 0; i < 12; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    matmul.execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}});
    stream.wait();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + 5, seconds.end());
  std::printf("%.2f\n", 2e-9 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n) / seconds[5]);
}
