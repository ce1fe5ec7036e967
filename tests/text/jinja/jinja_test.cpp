// The template language: what the real Jinja2 gives, and bounds on what a template can do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "base/error.h"
#include "tests/paths.h"
#include "tests/patience.h"
#include "text/chat/chat_template.h"
#include "text/jinja/values/strings.h"

namespace sinkstream {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

// The text, or "error: " and why there is none.
std::string outcome(const std::string& source, const Json& messages = Json::array()) {
  try {
    TemplateSources sources;
    sources.usual = source;
    sources.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
    return ChatTemplate(sources).render({.messages = messages});
  } catch (const TemplateError& error) {
    return std::string("error: ") + error.what();
  } catch (const StartupError& error) {
    return std::string("error: ") + error.what();
  }
}

std::string repeated(const std::string& unit, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += unit;
  return text;
}

TEST(JinjaTest, EveryLanguageCaseAsJinja2HasIt) {
  std::ifstream file(test_data_dir() / "templates/language_cases.json");
  const Json golden = Json::parse(file);
  EXPECT_GT(golden["cases"].size(), 200u);
  for (const Json& test_case : golden["cases"]) {
    const std::string source = test_case["template"];
    SCOPED_TRACE(source);
    const std::string result = outcome(source, golden["messages"]);
    if (test_case.contains("error")) {
      EXPECT_THAT(result, HasSubstr("error: "));
    } else {
      EXPECT_EQ(result, test_case["text"].get<std::string>());
    }
  }
}

TEST(JinjaTest, LinesOfErrors) {
  EXPECT_THAT(outcome("a\n{# x\n#}\n{{ nothing.here }}"),
              HasSubstr("'nothing' is undefined (chat template, line 4)"));
  EXPECT_THAT(outcome("{% macro m() %}\n\n{{ 1 / 0 }}{% endmacro %}\n{{ m() }}"), HasSubstr("line 3"));
  EXPECT_THAT(outcome("{% raw %}\n\n{% endraw %}{{ 1 + }}"), HasSubstr("line 3"));
}

TEST(JinjaTest, UnsupportedPartsOfTheLanguageAreRefused) {
  EXPECT_THAT(outcome("{% include 'x' %}"), HasSubstr("unknown tag 'include'"));
}

TEST(JinjaTest, DeepNestingIsAnError) {
  const int many = 60000;
  const std::string too_deep = "nested too deeply";
  EXPECT_THAT(outcome("{{ " + repeated("(", many) + "1" + repeated(")", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ " + repeated("[", many) + repeated("]", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ " + repeated("{1:", many) + repeated("}", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ " + repeated("-", many) + "1 }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ " + repeated("not ", many) + "1 }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ 1" + repeated(" + 1", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ 1" + repeated("|abs", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ a" + repeated(".b", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ a" + repeated("()", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{{ 1" + repeated(" if 1 else 1", many) + " }}"), HasSubstr(too_deep));
  EXPECT_THAT(outcome(repeated("{% if 1 %}", many)), HasSubstr(too_deep));
  EXPECT_THAT(outcome("{% set " + repeated("(", many) + "a" + repeated(")", many) + " = 1 %}"),
              HasSubstr(too_deep));
  EXPECT_EQ(outcome("{{ " + repeated("(", 30) + "1" + repeated(")", 30) + " }}"), "1");
}

TEST(JinjaTest, RecursionIsBounded) {
  EXPECT_THAT(outcome("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("recurses too deeply"));
  EXPECT_THAT(
      outcome("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ b() }}"),
      HasSubstr("recurses too deeply"));
  EXPECT_EQ(outcome("{% macro m(n) %}{% if n %}{{ m(n - 1) }}.{% endif %}{% endmacro %}{{ m(40) }}"),
            repeated(".", 40));
}

TEST(JinjaTest, WorkIsBounded) {
  const auto too_much = AnyOf(HasSubstr("too many steps"), HasSubstr("too much text"));
  const double start = processor_seconds();
  EXPECT_THAT(outcome("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"),
              too_much);
  EXPECT_THAT(
      outcome(
          "{% set ns = namespace(s='ab') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"),
      too_much);
  EXPECT_THAT(outcome("{{ 'abc' * 1000000000 }}"), too_much);
  EXPECT_THAT(outcome("{{ [1] * 9223372036854775807 }}"), too_much);
  EXPECT_THAT(outcome("{{ ('a' * 100000).replace('a', 'b' * 100000) }}"), too_much);
  EXPECT_THAT(outcome("{{ ('b' * 100000).join('a' * 100000) }}"), too_much);
  EXPECT_THAT(outcome("{{ [1] | batch(1000000000, 0) }}"), too_much);
  for (const char* work : {"a[1]", "a.find('y')", "{a: 1} | length", "a in {}", "{}[a]", "a == b",
                           "[(a,), (a,)] | unique | list | length", "('%s' % a) | length"}) {
    EXPECT_THAT(
        outcome("{% set a = 'x' * 1000000 %}{% set b = 'x' * 1000000 %}{% for i in range(100000) %}{{ " +
                std::string(work) + " }}{% endfor %}"),
        too_much)
        << work;
  }
  EXPECT_THAT(outcome("{{ 'x'.join(range(100000) | map('string')) | replace('x', 'y' * 10000) }}"), too_much);
  EXPECT_THAT(outcome("{{ ('%10000d' * 50000) % tuple }}{{ '%10000d' * 50000 % (range(9) | list) }}"),
              HasSubstr("error"));
  EXPECT_THAT(outcome("{% for i in range(100000) %}{{ '%10000d' % 1 }}{% endfor %}"), too_much);
  EXPECT_THAT(outcome("{% for i in range(100000) %}{{ '{:10000}'.format(1) }}{% endfor %}"), too_much);
  EXPECT_THAT(outcome("{% for x in [1] recursive %}{{ loop([1, 2, 3]) }}{% endfor %}"),
              AnyOf(too_much, HasSubstr("recurses too deeply")));
  EXPECT_THAT(outcome("{{ [1] | slice(1000000000) | list }}"), HasSubstr("from 1 to 100000"));
  EXPECT_THAT(outcome("{{ range(1000000000) }}"), HasSubstr("Range too big"));
  EXPECT_LT(processor_seconds() - start, 120);
}

// Each list holds the one before it twice: small to keep, endless to print or compare.
TEST(JinjaTest, SharedValuesAreCountedAsOftenAsTheyShow) {
  const std::string grow =
      "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(150) %}"
      "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}";
  EXPECT_THAT(outcome(grow + "{{ ns.a }}"), HasSubstr("too much text"));
  EXPECT_THAT(outcome(grow + "{{ ns.a == ns.b }}"), HasSubstr("too much text"));
  const std::string tuples =
      "{% set ns = namespace(a=(1,)) %}{% for i in range(150) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}";
  for (const char* look : {"{{ {ns.a: 1} }}", "{{ ns.a in {} }}", "{{ {}[ns.a] }}", "{{ {}.get(ns.a) }}",
                           "{{ [ns.a] | unique | list }}", "{{ dict([(ns.a, 1)]) }}"})
    EXPECT_THAT(outcome(tuples + look), HasSubstr("too much text")) << look;
}

TEST(JinjaTest, DeepValuesAreBounded) {
  EXPECT_THAT(
      outcome("{% set ns = namespace(a=[]) %}{% for i in range(50000) %}{% set ns.a = [ns.a] %}{% endfor %}"),
      HasSubstr("nested too deeply"));
  EXPECT_EQ(
      outcome(
          "{% set ns = namespace() %}{% for i in range(50000) %}{% set ns = namespace(a=ns) %}{% endfor %}x"),
      "x");
  EXPECT_EQ(outcome("{% set ns = namespace() %}{% for i in range(9000) %}{% set ns.a = namespace(a=ns.a) "
                    "%}{% endfor %}x"),
            "x");
}

// Whatever holds a value inside of it counts as deep as that: ending a chain of them is recursive.
TEST(JinjaTest, ChainsOfObjectsAreBounded) {
  const auto chain = [](const std::string& next) {
    return outcome("{% set ns = namespace(a=()) %}{% for i in range(50000) %}" + next + "{% endfor %}");
  };
  const auto too_deep = HasSubstr("nested too deeply");
  EXPECT_THAT(chain("{% set ns.a = [ns.a].index %}"), too_deep);
  EXPECT_THAT(chain("{% set ns.a = [ns.a] | map('default') %}"), too_deep);
  EXPECT_THAT(chain("{% set ns.a = cycler(ns.a) %}"), too_deep);
  EXPECT_THAT(chain("{% for x in [ns.a] %}{% set ns.a = loop %}{% endfor %}"), too_deep);
  EXPECT_THAT(chain("{% set ns.a = {(1, ns.a): 1} | list | first %}"), too_deep);
}

TEST(JinjaTest, ALoopThatIsOver) {
  EXPECT_EQ(
      outcome("{% set ns = namespace() %}{% for x in [1, 2, 3] if x != 2 %}{% set ns.l = loop %}{% break %}"
              "{% endfor %}{{ ns.l.index }}{{ ns.l.length }}{{ ns.l.nextitem }}"),
      "123");
  EXPECT_EQ(outcome("{% set ns = namespace() %}{% for x in [1] recursive %}{% set ns.l = loop %}{% endfor %}"
                    "{{ ns.l.depth }}{{ ns.l([5, 6]) }}{{ ns.l.depth }}"),
            "12");
}

TEST(JinjaTest, ValuesThatReferToThemselves) {
  EXPECT_EQ(
      outcome("{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = [ns] %}{{ ns.a.a.b[0] == ns }}"),
      "True");
  EXPECT_EQ(outcome("{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{% set ns = namespace(m=m) "
                    "%}{{ ns.m() }}{% endfor %}"),
            "12");
  EXPECT_EQ(outcome("{% set ns = namespace() %}{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{% "
                    "set ns.m = m %}{% endfor %}{{ ns.m() }}"),
            "2");
}

TEST(JinjaTest, IntegersThatDoNotFit) {
  EXPECT_THAT(outcome("{{ 9223372036854775807 + 1 }}"), HasSubstr("too large"));
  EXPECT_THAT(outcome("{{ (-9223372036854775807 - 1) // -1 }}"), HasSubstr("too large"));
  EXPECT_THAT(outcome("{{ 10 ** 100 }}"), HasSubstr("too large"));
  EXPECT_EQ(outcome("{{ (-9223372036854775807 - 1) % -1 }}"), "0");
  EXPECT_THAT(outcome("{{ 99999999999999999999 }}"), HasSubstr("out of range"));
  EXPECT_EQ(outcome("{{ 'abc'[-9223372036854775807:9223372036854775807] }}"), "abc");
  EXPECT_EQ(outcome("{{ [1, 2, 3][::9223372036854775807] }}{{ [1, 2][9223372036854775807] }}"), "[1]");
  EXPECT_EQ(outcome("{{ range(9223372036854775800, 9223372036854775807, 5) | list }}"),
            "[9223372036854775800, 9223372036854775805]");
}

TEST(JinjaTest, ATemplateChangesNothingButNamespaces) {
  EXPECT_THAT(outcome("{{ messages.append(1) }}"),
              HasSubstr("access to attribute 'append' of 'list' object is unsafe"));
  EXPECT_THAT(outcome("{{ {}.update(a=1) }}"),
              HasSubstr("access to attribute 'update' of 'dict' object is unsafe"));
  EXPECT_THAT(outcome("{% set messages.x = 1 %}"), HasSubstr("non-namespace"));
  EXPECT_EQ(outcome("{{ ''.__class__ }}{{ messages.__class__ }}"), "");
}

// Any bytes are a template or an error, never a crash.
TEST(JinjaTest, RandomTemplatesNeverCrash) {
  static const char* const kPieces[] = {"{{",
                                        "}}",
                                        "{%",
                                        "%}",
                                        "{#",
                                        "#}",
                                        "-",
                                        "+",
                                        " if ",
                                        " for ",
                                        " in ",
                                        "set ",
                                        "x",
                                        "messages",
                                        "(",
                                        ")",
                                        "[",
                                        "]",
                                        "{",
                                        "}",
                                        "'a'",
                                        "1",
                                        "0",
                                        ".",
                                        "|",
                                        "length",
                                        "trim",
                                        " is ",
                                        "defined",
                                        "=",
                                        "==",
                                        ",",
                                        ":",
                                        "~",
                                        "*",
                                        "**",
                                        "/",
                                        "%",
                                        "endfor",
                                        "endif",
                                        "else",
                                        "macro m()",
                                        "endmacro",
                                        "m()",
                                        "loop.index",
                                        "\n",
                                        "not ",
                                        "\xFF",
                                        "é",
                                        "range(3)",
                                        "raw",
                                        "endraw",
                                        "\\",
                                        "\"",
                                        "namespace(a=1)",
                                        "tojson",
                                        "[::-1]",
                                        "filter upper",
                                        "endfilter"};
  std::mt19937 random(17);
  int good = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string source;
    for (std::size_t i = 1 + random() % 12; i > 0; --i) source += kPieces[random() % std::size(kPieces)];
    for (const std::string& text : {source, "{{ " + source + " }}", "{% " + source + " %}{% endif %}"}) {
      good += outcome(text).starts_with("error: ") ? 0 : 1;
    }
  }
  EXPECT_GT(good, 500);
}

TEST(JinjaStringsTest, FloatsAsPythonPrintsThem) {
  EXPECT_EQ(jinja::format_real(1e16), "1e+16");
  EXPECT_EQ(jinja::format_real(123456789012345680.0), "1.2345678901234568e+17");
  EXPECT_EQ(jinja::format_real(0.1), "0.1");
  EXPECT_EQ(jinja::format_real(-0.0), "-0.0");
  EXPECT_EQ(jinja::format_real(5e-324), "5e-324");
}

}  // namespace
}  // namespace sinkstream
