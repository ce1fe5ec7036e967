#include "kernels/weight.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "base/round_up.h"

namespace sinkstream::kernels {

std::optional<WeightFormat> parse_weight_format(std::string_view name) {
  for (const WeightFormat format :
       {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4}) {
    if (name == name_of(format)) return format;
  }
  return std::nullopt;
}

Range columns_to_pack(WeightFormat format, Range own, std::int64_t whole_width) {
  if (own.begin < 0 || own.size() < 0 || own.end > whole_width) {
    throw std::invalid_argument("columns_to_pack: columns [" + std::to_string(own.begin) + ", " +
                                std::to_string(own.end) + ") must be within [0, " +
                                std::to_string(whole_width) + ")");
  }
  if (!is_quantized(format) || own.size() == 0) return own;
  return {own.begin / kGroupSize * kGroupSize, std::min(round_up(own.end, kGroupSize), whole_width)};
}

WeightShape weight_shape(WeightFormat format, std::int64_t out_features, Range own,
                         std::int64_t whole_width) {
  const Range widened = columns_to_pack(format, own, whole_width);
  return {.format = format,
          .out_features = out_features,
          .in_features = own.size(),
          .columns_before = own.begin - widened.begin,
          .columns_after = widened.end - own.end};
}

}  // namespace sinkstream::kernels
