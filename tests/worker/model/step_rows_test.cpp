#include "worker/model/step_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string>

namespace sinkstream {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr CacheWindow kWindow{2, 5};
constexpr std::int64_t kFarthest = std::numeric_limits<std::int64_t>::max();

class StepRowsTest : public testing::Test {
 protected:
  // What assign() complains of; empty when it takes the rows.
  std::string complaint(const std::vector<ModelRow>& rows) {
    try {
      step_.assign(rows);
      return "";
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
  }

  StepRows step_{{.num_slots = 3, .sink_capacity = 2, .ring_capacity = 8}, 100, 6};
};

TEST_F(StepRowsTest, LaysRowsOut) {
  step_.assign(std::vector<ModelRow>{{0, 7, 0, kWindow}, {2, 9, 10, kWindow}, {2, 11, 11, kWindow}});
  EXPECT_THAT(step_.tokens(), ElementsAre(7, 9, 11));
  EXPECT_THAT(step_.true_positions(), ElementsAre(0, 10, 11));
  EXPECT_THAT(step_.cache_positions(), ElementsAre(0, 6, 6));
  ASSERT_EQ(step_.attention().size(), 3u);
  const kernels::AttentionRow& last = step_.attention()[2];
  EXPECT_EQ(last.slot, 2);
  EXPECT_EQ(last.position, 11);
  EXPECT_EQ(last.window_begin, 7);
  EXPECT_EQ(last.sinks_end, 2);
}

TEST_F(StepRowsTest, RefusesRowsThatBreakTheRules) {
  EXPECT_THAT(complaint({}), HasSubstr("a step of 0 rows"));
  EXPECT_THAT(complaint(std::vector<ModelRow>(7, {0, 1, 0, kWindow})), HasSubstr("a step of 7 rows"));
  EXPECT_THAT(complaint({{-1, 1, 0, kWindow}}), HasSubstr("slot -1 at position 0: no such slot"));
  EXPECT_THAT(complaint({{3, 1, 0, kWindow}}), HasSubstr("no such slot"));
  EXPECT_THAT(complaint({{0, kernels::kLastChosen - 1, 0, kWindow}}), HasSubstr("not in the vocabulary"));
  EXPECT_EQ(complaint({{0, kernels::kLastChosen, 0, kWindow}}), "") << "stands for one";
  EXPECT_THAT(complaint({{0, 100, 0, kWindow}}), HasSubstr("not in the vocabulary"));
  EXPECT_THAT(complaint({{0, 1, -1, kWindow}}), HasSubstr("no such position"));
  EXPECT_THAT(complaint({{0, 1, kFarthest, kWindow}}), HasSubstr("no such position"));
  EXPECT_THAT(complaint({{0, 1, 0, {0, 0}}}), HasSubstr("window does not fit"));
  EXPECT_THAT(complaint({{0, 1, 0, {0, 9}}}), HasSubstr("window does not fit"));
  EXPECT_THAT(complaint({{0, 1, 0, {-1, 5}}}), HasSubstr("negative number of sinks"));
  EXPECT_THAT(complaint({{0, 1, 20, {3, 5}}}), HasSubstr("more sinks"));
  EXPECT_THAT(complaint({{0, 1, 20, {kFarthest, 5}}}), HasSubstr("more sinks"));
}

TEST_F(StepRowsTest, RowsOfASlotFollowOneAnother) {
  EXPECT_EQ(complaint({{0, 1, 3, kWindow}, {1, 1, 8, kWindow}, {0, 1, 4, kWindow}}), "");
  EXPECT_THAT(complaint({{0, 1, 3, kWindow}, {0, 1, 5, kWindow}}), HasSubstr("does not follow"));
  EXPECT_THAT(complaint({{0, 1, 3, kWindow}, {0, 1, 3, kWindow}}), HasSubstr("does not follow"));
  EXPECT_THAT(complaint({{0, 1, 3, kWindow}, {1, 1, 9, kWindow}, {0, 1, 2, kWindow}}),
              HasSubstr("does not follow"));
  EXPECT_EQ(complaint({{0, 1, 9, kWindow}}), "") << "another step may start anywhere";
}

// The ring has 8 places, the window 5: the first row needs the oldest four of them, so four rows fit a step.
TEST_F(StepRowsTest, AStepNeverOverwritesWhatItAttends) {
  const auto consecutive = [](std::int64_t first, int count) {
    std::vector<ModelRow> rows;
    for (int i = 0; i < count; ++i) rows.push_back({1, 1, first + i, kWindow});
    return rows;
  };
  EXPECT_EQ(complaint(consecutive(20, 4)), "");
  EXPECT_THAT(complaint(consecutive(20, 5)), HasSubstr("slot 1 at position 24: too many rows"));
  EXPECT_EQ(complaint(consecutive(0, 6)), "") << "nothing old is there yet";
}

TEST_F(StepRowsTest, DenseSessionsEndWithTheRing) {
  const CacheWindow dense{0, 8};
  EXPECT_EQ(complaint({{0, 1, 7, dense}}), "");
  EXPECT_EQ(complaint({{0, 1, 8, dense}}), "")
      << "a window of 8 slides; the engine refuses beyond max_context";
}

}  // namespace
}  // namespace sinkstream
