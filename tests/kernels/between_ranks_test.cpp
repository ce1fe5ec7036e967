// Operations in which the ranks of a group take part.
#include <algorithm>
#include <cmath>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

class BetweenRanks : public OnEveryBackend {
 protected:
  // A matrix of each rank, such that the order of additions shows.
  static std::vector<Tensor> of_ranks(int ranks, std::int64_t rows, std::int64_t cols) {
    Random random(static_cast<std::uint32_t>(ranks * 100 + rows));
    std::vector<Tensor> matrices;
    for (int rank = 0; rank < ranks; ++rank) {
      matrices.push_back(random.matrix(rows, cols));
      for (float& value : matrices.back().data) value *= std::ldexp(1.0f, 5 * rank % 17);
    }
    return matrices;
  }
};

constexpr int kRankCounts[] = {1, 2, 3, 5};

Tensor sum_in_rank_order(const std::vector<Tensor>& matrices) {
  Tensor sum = matrices[0];
  for (std::size_t rank = 1; rank < matrices.size(); ++rank) {
    for (std::size_t i = 0; i < sum.data.size(); ++i) sum.data[i] += matrices[rank].data[i];
  }
  return sum;
}

TEST_P(BetweenRanks, SumsAreAddedInRankOrder) {
  for (const int ranks : kRankCounts) {
    const std::vector<Tensor> matrices = of_ranks(ranks, 7, 129);
    const Tensor expected = sum_in_rank_order(matrices);
    on_ranks(ranks, [&](Backend& mine, int rank) {
      const DeviceTensor x(mine, matrices[rank]);
      mine.sum_over_ranks(x);
      expect_same_bits(x.read().data, expected.data);
    });
  }
}

TEST_P(BetweenRanks, SumAndNormIsASumAnAdditionAndANorm) {
  for (const int ranks : kRankCounts) {
    for (const NormKind kind : {NormKind::rms, NormKind::layer}) {
      const std::vector<Tensor> matrices = of_ranks(ranks, 5, 67);
      Random random(3);
      const Tensor before = random.matrix(5, 67);
      const std::vector<float> factors = random.numbers(67),
                               shift = random.numbers(kind == NormKind::layer ? 67 : 0);
      Tensor hidden_expected = before;
      const Tensor sum = sum_in_rank_order(matrices);
      for (std::size_t i = 0; i < sum.data.size(); ++i) hidden_expected.data[i] += sum.data[i];
      on_ranks(ranks, [&](Backend& mine, int rank) {
        const DeviceTensor partial(mine, matrices[rank]), hidden(mine, before), normed(mine, 5, 67);
        const DeviceTensor normed_apart(mine, 5, 67);
        const OnDevice<float> weight(mine, factors), bias(mine, shift);
        const Norm norm{kind, 1e-5f, weight, bias};
        mine.sum_and_norm(partial, norm, hidden, normed);
        expect_same_bits(hidden.read().data, hidden_expected.data);
        mine.norm(hidden, norm, normed_apart);
        expect_same_bits(normed.read().data, normed_apart.read().data);
      });
    }
  }
}

TEST_P(BetweenRanks, MatricesAreGatheredOneBelowTheOther) {
  for (const int ranks : kRankCounts) {
    for (const std::int64_t rows : {1, 4}) {
      const std::vector<Tensor> matrices = of_ranks(ranks, rows, 3);
      std::vector<float> expected;
      for (const Tensor& matrix : matrices)
        expected.insert(expected.end(), matrix.data.begin(), matrix.data.end());
      on_ranks(ranks, [&](Backend& mine, int rank) {
        const DeviceTensor own(mine, matrices[rank]), all(mine, ranks * rows, 3);
        mine.gather_over_ranks(own, all);
        expect_same_bits(all.read().data, expected);
      });
    }
  }
}

// Two steps that are queued one behind the other, with nobody waiting between them.
TEST_P(BetweenRanks, StepsMayFollowEachOtherUnseen) {
  constexpr int kRanks = 3;
  const std::vector<Tensor> matrices = of_ranks(kRanks, 2, 33);
  const Tensor once = sum_in_rank_order(matrices);
  const Tensor twice = sum_in_rank_order({once, once, once});
  on_ranks(kRanks, [&](Backend& mine, int rank) {
    const DeviceTensor x(mine, matrices[rank]);
    std::vector<float> first(once.data.size()), second(once.data.size());
    mine.sum_over_ranks(x);
    mine.download(Matrix(x).data, std::as_writable_bytes(std::span(first)));
    const std::uint64_t first_mark = mine.mark();
    mine.sum_over_ranks(x);
    mine.download(Matrix(x).data, std::as_writable_bytes(std::span(second)));
    const std::uint64_t second_mark = mine.mark();
    mine.wait(first_mark);
    expect_same_bits(first, once.data);
    mine.wait(second_mark);
    expect_same_bits(second, twice.data);
  });
}

// A layer norm over columns that ranks share, whatever each of them holds.
TEST_P(BetweenRanks, ANormOverTheColumnsOfAllRanksIsOneOverTheWholeRow) {
  constexpr std::int64_t kRows = 4;
  const std::vector<std::int64_t> counts = {7, 0, 12};
  Random random(5);
  const Tensor whole = random.matrix(kRows, 19);
  const std::vector<float> factors = random.numbers(19), shift = random.numbers(19);
  const DeviceTensor input(reference(), whole), normed(reference(), kRows, 19);
  const OnDevice<float> weight(reference(), factors), bias(reference(), shift);
  reference().norm(input, {NormKind::layer, 1e-5f, weight, bias}, normed);
  const Tensor expected = normed.read();
  on_ranks(3, [&](Backend& mine, int rank) {
    const std::int64_t first = rank == 0 ? 0 : 7, count = counts[rank];
    Tensor part(kRows, count + 2, 7.0f);  // one foreign column on either side
    for (std::int64_t r = 0; r < kRows; ++r) {
      std::ranges::copy(whole.row(r).subspan(first, count), part.row(r).subspan(1).begin());
    }
    const DeviceTensor x(mine, part), moments(mine, kRows, 2), all(mine, 3 * kRows, 2),
        statistics(mine, kRows, 2);
    const OnDevice<std::int64_t> of_ranks_counts(mine, counts);
    mine.row_moments(x, 1, count, moments);
    mine.gather_over_ranks(moments, all);
    mine.combine_moments(all, of_ranks_counts, 1e-5f, statistics);
    if (count == 0) return wait_for_all(mine);
    const OnDevice<float> own_weight(mine, std::span<const float>(factors).subspan(first, count));
    const OnDevice<float> own_bias(mine, std::span<const float>(shift).subspan(first, count));
    mine.normalize_columns(statistics, own_weight, own_bias, 1, x);
    const Tensor actual = x.read();
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t i = 0; i < count; ++i) {
        EXPECT_NEAR(actual.row(r)[1 + i], expected.row(r)[first + i], 1e-5);
      }
      EXPECT_EQ(actual.row(r)[0], 7.0f);
      EXPECT_EQ(actual.row(r)[count + 1], 7.0f);
    }
  });
}

INSTANTIATE_ON_EVERY_BACKEND(BetweenRanks);

}  // namespace
}  // namespace sinkstream::kernels
