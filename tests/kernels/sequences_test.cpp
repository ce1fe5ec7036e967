// Operations that follow each other, as a layer has them: a backend may do several at once, and every matrix
// ends up with the bits that it has where each operation is waited for.
#include <functional>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

using Operations = std::vector<std::function<void()>>;

// The matrices of a sequence on one rank, the same for the same seed.
class Layer {
 public:
  explicit Layer(Backend& backend, std::uint32_t seed) : backend_(&backend), random_(seed) {}

  Backend& backend() { return *backend_; }
  Random& random() { return random_; }
  const DeviceTensor& matrix(std::int64_t rows, std::int64_t cols) {
    return keep(std::make_unique<DeviceTensor>(*backend_, random_.matrix(rows, cols)));
  }
  const DeviceTensor& unwritten(std::int64_t rows, std::int64_t cols) {
    return keep(std::make_unique<DeviceTensor>(*backend_, rows, cols));
  }
  Vector vector(std::int64_t size) {
    vectors_.push_back(std::make_unique<OnDevice<float>>(*backend_, random_.numbers(size)));
    return *vectors_.back();
  }
  Norm norm(NormKind kind, std::int64_t width) {
    const Vector weight = vector(width);
    return {kind, 1e-5f, weight, kind == NormKind::layer ? vector(width) : Vector{}};
  }
  std::vector<std::vector<float>> read() const {
    std::vector<std::vector<float>> all;
    for (const auto& matrix : matrices_) all.push_back(matrix->read().data);
    return all;
  }

 private:
  const DeviceTensor& keep(std::unique_ptr<DeviceTensor> made) {
    matrices_.push_back(std::move(made));
    return *matrices_.back();
  }

  Backend* backend_;
  Random random_;
  std::vector<std::unique_ptr<DeviceTensor>> matrices_;
  std::vector<std::unique_ptr<OnDevice<float>>> vectors_;
};
using Make = std::function<Operations(Layer&)>;

class Sequences : public OnEveryBackend {
 protected:
  static std::vector<std::vector<float>> results(Backend& backend, const Make& make, bool one_by_one) {
    Layer layer(backend, 5);
    for (const auto& operation : make(layer)) {
      operation();
      if (one_by_one) wait_for_all(backend);
    }
    return layer.read();
  }

  void expect_same(const Make& make, int ranks = 1) {
    on_ranks(ranks, [&](Backend& backend, int) {
      const auto apart = results(backend, make, true), together = results(backend, make, false);
      ASSERT_EQ(apart.size(), together.size());
      for (std::size_t i = 0; i < apart.size(); ++i) {
        SCOPED_TRACE("matrix " + std::to_string(i));
        expect_same_bits(together[i], apart[i]);
      }
    });
  }
};

constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8,
                                     WeightFormat::int4};

// x += W norm(x), as of attention and of the MLP, with the norm behind it.
Make block_of(std::int64_t rows, std::int64_t width, std::int64_t inner, WeightFormat format, NormKind kind) {
  return [=](Layer& layer) {
    Backend& backend = layer.backend();
    const Matrix hidden = layer.matrix(rows, width);
    const Matrix normed = layer.unwritten(rows, width), made = layer.unwritten(rows, inner);
    const Matrix partial = layer.unwritten(rows, width), normed_after = layer.unwritten(rows, width);
    const Norm before = layer.norm(kind, width), after = layer.norm(kind, width);
    const Weight in = WholeWeight(layer.random(), format, inner, width).on(backend);
    const Weight out = WholeWeight(layer.random(), format, width, inner).on(backend);
    const Vector bias = layer.vector(width);
    return Operations{
        [=, &backend] { backend.norm(hidden, before, normed); },
        [=, &backend] { backend.matmul(normed, in, {}, made); },
        [=, &backend] { backend.matmul(made, out, bias, partial); },
        [=, &backend] { backend.sum_and_norm(partial, after, hidden, normed_after); },
        [=, &backend] { backend.matmul(normed_after, in, {}, made); },
    };
  };
}

TEST_P(Sequences, ABlockOfALayer) {
  for (const WeightFormat format : kFormats) {
    for (const NormKind kind : {NormKind::rms, NormKind::layer}) {
      for (const std::int64_t rows : {1, 2, 4, 5, 9}) {
        SCOPED_TRACE(std::string(name_of(format)) + ", rows " + std::to_string(rows));
        expect_same(block_of(rows, 100, 67, format, kind));
      }
    }
  }
}

TEST_P(Sequences, WidthsOfModels) {
  for (const std::int64_t width : {1024, 4096, 9000}) {
    SCOPED_TRACE(width);
    expect_same(block_of(2, width, 24, WeightFormat::bf16, NormKind::layer));
    expect_same(block_of(1, width, 24, WeightFormat::int4, NormKind::rms));
  }
}

TEST_P(Sequences, SumsOverRanks) {
  for (const int ranks : {2, 3}) {
    for (const std::int64_t rows : {1, 9}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks, rows " + std::to_string(rows));
      expect_same(block_of(rows, 100, 67, WeightFormat::bf16, NormKind::rms), ranks);
    }
  }
}

TEST_P(Sequences, Activations) {
  constexpr std::int64_t kWidth = 160, kOut = 33;
  // A rank's inputs may begin within a group.
  for (const Range columns : {Range{0, kWidth}, Range{40, 137}}) {
    for (const std::int64_t rows : {1, 3, 4, 5, 9}) {
      for (const WeightFormat format : kFormats) {
        for (int activation = 0; activation < 3; ++activation) {
          SCOPED_TRACE(std::string(name_of(format)) + ", rows " + std::to_string(rows) + ", activation " +
                       std::to_string(activation));
          expect_same([&](Layer& layer) {
            Backend& backend = layer.backend();
            const Matrix up = layer.matrix(rows, columns.size() * (activation == 0 ? 2 : 1));
            const Matrix x = layer.unwritten(rows, columns.size()), out = layer.unwritten(rows, kOut);
            const Matrix sum = layer.matrix(rows, kOut);
            const Weight weight =
                WholeWeight(layer.random(), format, kOut, kWidth).on(backend, {0, kOut}, columns);
            return Operations{
                [=, &backend] {
                  if (activation == 0) backend.silu_multiply(up, x);
                  if (activation == 1) backend.gelu(up, x);
                  if (activation == 2) backend.gelu_tanh(up, x);
                },
                [=, &backend] { backend.matmul(x, weight, {}, out); },
                [=, &backend] { backend.add(out, sum); },
            };
          });
        }
      }
    }
  }
}

// What is added to may be what the product was made of.
TEST_P(Sequences, AResultIsAddedToItsOwnInput) {
  for (const WeightFormat format : kFormats) {
    for (const bool normed_first : {false, true}) {
      SCOPED_TRACE(name_of(format));
      expect_same([&](Layer& layer) {
        Backend& backend = layer.backend();
        constexpr std::int64_t kWidth = 290;  // more than one block's
        const Matrix hidden = layer.matrix(1, kWidth), normed = layer.unwritten(1, kWidth);
        const Matrix out = layer.unwritten(1, kWidth);
        const Norm norm = layer.norm(NormKind::rms, kWidth);
        const Weight weight = WholeWeight(layer.random(), format, kWidth, kWidth).on(backend);
        Operations operations;
        if (normed_first) operations.push_back([=, &backend] { backend.norm(hidden, norm, normed); });
        const Matrix x = normed_first ? normed : hidden;
        operations.push_back([=, &backend] { backend.matmul(x, weight, {}, out); });
        operations.push_back([=, &backend] { backend.add(out, hidden); });
        return operations;
      });
    }
  }
}

// What follows isn't always what belongs to it.
TEST_P(Sequences, NeighboursOfOtherMatrices) {
  for (const WeightFormat format : kFormats) {
    SCOPED_TRACE(name_of(format));
    expect_same([&](Layer& layer) {
      Backend& backend = layer.backend();
      constexpr std::int64_t kWidth = 96;
      const Matrix a = layer.matrix(2, kWidth), b = layer.matrix(2, kWidth), c = layer.matrix(2, kWidth);
      const Matrix normed = layer.unwritten(2, kWidth), out = layer.unwritten(2, kWidth);
      const Norm norm = layer.norm(NormKind::rms, kWidth);
      const Weight weight = WholeWeight(layer.random(), format, kWidth, kWidth).on(backend);
      const auto first = [](const Matrix& x) { return Matrix{x.data, 1, x.cols}; };
      return Operations{
          [=, &backend] { backend.norm(a, norm, normed); },
          [=, &backend] {
            backend.matmul(first(normed), weight, {}, first(out));
          },                                            // fewer rows than were made
          [=, &backend] { backend.add(out, b); },       // more than were computed
          [=, &backend] { backend.norm(a, norm, a); },  // in place
          [=, &backend] { backend.matmul(a, weight, {}, out); },
          [=, &backend] { backend.add(b, c); },
          [=, &backend] { backend.norm(b, norm, normed); },
          [=, &backend] { backend.add(normed, c); },
          [=, &backend] { backend.norm(c, norm, c); },
          [=, &backend] { backend.gelu(c, c); },
          [=, &backend] { backend.matmul(c, weight, {}, out); },
          [=, &backend] { backend.add(out, c); },
      };
    });
  }
}

INSTANTIATE_ON_EVERY_BACKEND(Sequences);

}  // namespace
}  // namespace sinkstream::kernels
