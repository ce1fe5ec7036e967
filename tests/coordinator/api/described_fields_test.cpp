// /openapi.json names the fields of requests that the server reads, and no others.
#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>

#include "base/text_file.h"
#include "tests/coordinator/api/coordinator_fixture.h"

namespace sinkstream::testing {
namespace {

using Names = std::set<std::string>;

// Every string in the API's sources that could be a field's name.
Names possible_names() {
  static const std::regex quoted("\"([a-z][a-z_0-9]*)\"");
  Names names;
  for (const auto& file : std::filesystem::recursive_directory_iterator(project_dir() / "coordinator/api")) {
    if (file.path().extension() != ".cpp") continue;
    const std::string text = read_text_file(file.path(), 1 << 20).value();
    for (std::sregex_iterator match(text.begin(), text.end(), quoted), end; match != end; ++match)
      names.insert((*match)[1]);
  }
  return names;
}

Names described_names(const Json& document, const std::string& schema) {
  const Json& described = document["components"]["schemas"][schema];
  Names names;
  for (const auto& property : described["properties"].items()) names.insert(property.key());
  for (const Json& part : described.value("allOf", Json::array())) {
    const std::string reference = part["$ref"];
    names.merge(described_names(document, reference.substr(reference.rfind('/') + 1)));
  }
  return names;
}

class DescribedFields : public CoordinatorTest {
 protected:
  // A field that is read is complained of where it has a wrong type; none takes both an object and a
  // fraction.
  bool is_read(const std::string& path, Json request, const std::string& name) const {
    for (const Json& wrong : {Json{{"wrong", 0}}, Json(0.5)}) {
      request[name] = wrong;
      const RawResponse response = post_json(path, request);
      if (response.status == 200) continue;
      const Json error = Json::parse(response.body)["error"];
      const std::string param = error["param"].is_string() ? error["param"].get<std::string>() : "";
      const bool names_it = param == name || param.starts_with(name + ".") || param.starts_with(name + "[");
      if (names_it && error["code"] != "unsupported_parameter") return true;
    }
    return false;
  }

  // `requests`: good ones, which between them read every field.
  void expect_described(const std::string& path, const std::string& schema,
                        const std::vector<Json>& requests) const {
    Names read;
    for (const std::string& name : possible_names()) {
      if (std::ranges::any_of(requests, [&](const Json& request) { return is_read(path, request, name); }))
        read.insert(name);
    }
    const Json document = Json::parse(ask(get("/openapi.json")).body);
    EXPECT_EQ(read, described_names(document, schema)) << schema;
  }
};

TEST_F(DescribedFields, OfChats) {
  start();
  expect_described("/v1/chat/completions", "ChatRequest", {chat("hi")});
}

TEST_F(DescribedFields, OfCompletions) {
  start();
  expect_described("/v1/completions", "CompletionRequest", {{{"prompt", "hi"}}});
}

TEST_F(DescribedFields, OfTokenizing) {
  start();
  Json messages = chat("hi");
  messages.erase("seed");
  expect_described("/tokenize", "TokenizeRequest", {{{"prompt", "hi"}}, messages});
}

TEST_F(DescribedFields, OfSessions) {
  start();
  expect_described("/v1/sessions", "SessionRequest", {Json::object()});
}

TEST_F(DescribedFields, OfDetokenizing) {
  start();
  expect_described("/detokenize", "DetokenizeRequest", {{{"tokens", {1, 2}}}});
}

}  // namespace
}  // namespace sinkstream::testing
