// A chat template: parsed, and rendered with messages, tools and bounds of its own.
#include <nlohmann/json.hpp>

#include "tests/fuzz/scratch.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/syntax/parser.h"
#include "text/jinja/values/error.h"
#include "text/unicode/utf8.h"

namespace sinkstream::fuzz {
namespace {

using jinja::Value;

Value mapping(const std::vector<std::pair<const char*, Value>>& entries) {
  auto result = std::make_shared<jinja::Mapping>();
  for (const auto& [key, value] : entries) result->set(key, value);
  return std::shared_ptr<const jinja::Mapping>(std::move(result));
}

Value messages() {
  const Value function = mapping({{"name", "f"}, {"arguments", mapping({{"a", 1.5}, {"b", Value()}})}});
  return Value::list(
      {mapping({{"role", "system"}, {"content", "Be \u00e9 kind.\n"}}),
       mapping({{"role", "user"}, {"content", " Hi <b> 'x' \"y\" \U0001F999\t"}}),
       mapping({{"role", "assistant"},
                {"tool_calls", Value::list({mapping({{"id", "i"}, {"function", function}})})}}),
       mapping({{"role", "tool"}, {"content", "{\"r\": 1}"}, {"tool_call_id", "i"}})});
}

}  // namespace
}  // namespace sinkstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sinkstream;
  static const jinja::Value messages = fuzz::messages();
  const jinja::Limits limits{.steps = 20'000, .bytes = 4 << 20, .depth = 600, .value_depth = 200};
  try {
    const jinja::Template document = jinja::parse_template(to_valid_utf8(fuzz::as_text(data, size)));
    const std::string text = jinja::Interpreter({{"messages", messages},
                                                 {"tools", messages},
                                                 {"bos_token", "<s>"},
                                                 {"eos_token", "</s>"},
                                                 {"add_generation_prompt", true}},
                                                limits, 1721997000)
                                 .render(document);
    if (!is_valid_utf8(text)) fuzz::broken("a template gives valid UTF-8");
  } catch (const jinja::Error&) {
  }
  return 0;
}
