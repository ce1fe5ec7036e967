#include "coordinator/http/message/request_head.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/http/message/request_target.h"

namespace sinkstream {
namespace {

using namespace std::string_literals;

struct HeadCase {
  const char* name;
  std::string head;
  int status;  // 0: accepted
};

std::ostream& operator<<(std::ostream& out, const HeadCase& test) {
  return out << test.name;
}

std::string with_fields(const std::string& fields) {
  return "POST /x HTTP/1.1\r\n" + fields + "\r\n";
}
std::string with_target(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

std::string many_fields(int count) {
  std::string fields = "Host: a\r\n";
  for (int i = 1; i < count; ++i) fields += "a:" + std::to_string(i) + "\r\n";
  return with_fields(fields);
}

class RequestHead : public ::testing::TestWithParam<HeadCase> {};

TEST_P(RequestHead, IsJudged) {
  const auto refusal = check_request_head(GetParam().head);
  EXPECT_EQ(refusal ? refusal->status : 0, GetParam().status) << (refusal ? refusal->reason : "");
}

const HeadCase kCases[] = {
    {"plain", "GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n", 0},
    {"http_1_0_without_host", "GET / HTTP/1.0\r\n\r\n", 0},
    {"ipv6_host", with_fields("Host: [::1]:8000\r\n"), 0},
    {"tab_in_value", with_fields("Host: a\r\nX: a\tb\r\n"), 0},
    {"latin1_in_value", with_fields("Host: a\r\nX: caf\xe9\r\n"), 0},
    {"empty_value", with_fields("Host: a\r\nX:\r\n"), 0},
    {"content_length", with_fields("Host: a\r\nContent-Length: 7\r\n"), 0},
    {"chunked", with_fields("Host: a\r\nTransfer-Encoding: Chunked\r\n"), 0},
    {"expect", with_fields("Host: a\r\nExpect: 100-continue\r\n"), 0},
    {"options_star", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"encoded_slash", with_target("/v1/models/a%2Fb?x=%zz"), 0},
    {"most_fields", many_fields(128), 0},
    // 1
    {"length_and_chunked", with_fields("Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
     400},
    {"obfuscated_chunked", with_fields("Host: a\r\nTransfer-Encoding: xchunked\r\n"), 400},
    {"two_codings", with_fields("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"), 400},
    {"two_transfer_encodings",
     with_fields("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
    {"vertical_tab_chunked", with_fields("Host: a\r\nTransfer-Encoding: \x0b"s + "chunked\r\n"), 400},
    {"chunked_in_http_1_0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    // 2
    {"two_lengths", with_fields("Host: a\r\nContent-Length: 5\r\ncontent-length: 6\r\n"), 400},
    {"two_equal_lengths", with_fields("Host: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n"), 400},
    {"length_list", with_fields("Host: a\r\nContent-Length: 5, 5\r\n"), 400},
    {"negative_length", with_fields("Host: a\r\nContent-Length: -1\r\n"), 400},
    {"signed_length", with_fields("Host: a\r\nContent-Length: +5\r\n"), 400},
    {"hex_length", with_fields("Host: a\r\nContent-Length: 0x5\r\n"), 400},
    {"empty_length", with_fields("Host: a\r\nContent-Length:\r\n"), 400},
    {"overflowing_length", with_fields("Host: a\r\nContent-Length: 18446744073709551617\r\n"), 400},
    // 3
    {"folded", with_fields("Host: a\r\nX: a\r\n b\r\n"), 400},
    {"folded_first", with_fields(" Host: a\r\n"), 400},
    {"space_before_colon", with_fields("Host: a\r\nContent-Length : 5\r\n"), 400},
    {"no_colon", with_fields("Host: a\r\nnonsense\r\n"), 400},
    {"empty_name", with_fields("Host: a\r\n: b\r\n"), 400},
    {"nul_in_value", with_fields("Host: a\r\nX: a\0b\r\n"s), 400},
    {"control_in_value", with_fields("Host: a\r\nX: \x1b[31m\r\n"), 400},
    {"delete_in_value", with_fields("Host: a\r\nX: \x7f\r\n"), 400},
    {"bare_line_feed", "GET / HTTP/1.1\nHost: a\n\n", 400},
    {"line_feed_in_value", with_fields("Host: a\r\nX: a\nY: b\r\n"), 400},
    {"carriage_return_in_value", with_fields("Host: a\r\nX: a\rb\r\n"), 400},
    // 4
    {"no_host", with_fields("X: a\r\n"), 400},
    {"two_hosts", with_fields("Host: a\r\nHost: a\r\n"), 400},
    {"empty_host", with_fields("Host:\r\n"), 400},
    {"host_with_path", with_fields("Host: a/b\r\n"), 400},
    {"host_with_user", with_fields("Host: u@a\r\n"), 400},
    {"host_with_bad_port", with_fields("Host: a:http\r\n"), 400},
    {"host_with_long_port", with_fields("Host: a:123456\r\n"), 400},
    {"host_with_large_port", with_fields("Host: a:65536\r\n"), 400},
    {"open_bracket_host", with_fields("Host: [::1\r\n"), 400},
    // 5
    {"too_many_fields", many_fields(129), 431},
    {"ten_thousand_fields", many_fields(10000), 431},
    {"long_head", with_fields("Host: a\r\nX: " + std::string(70000, 'x') + "\r\n"), 431},
    // 6
    {"long_target", with_target("/" + std::string(8192, 'x')), 414},
    {"longer_target", with_target("/" + std::string(65536, 'x')), 414},
    {"nul_target", with_target("/%00"), 400},
    {"overlong_target", with_target("/%c0%ae"), 400},
    {"bad_escape", with_target("/%g0"), 400},
    {"cut_escape", with_target("/%4"), 400},
    {"utf8_target", with_target("/\xc3\xa9"), 400},
    {"fragment", with_target("/a#b"), 400},
    {"absolute_target", with_target("http://a/"), 0},
    {"absolute_target_without_path", with_target("HTTP://a:80"), 0},
    {"absolute_target_of_ipv6", with_target("http://[::1]:8000/v1/models?a=http://b/"), 0},
    {"absolute_target_with_query_only", with_target("http://a?x"), 0},
    {"absolute_options", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"absolute_target_without_host_field", "GET http://a/ HTTP/1.1\r\n\r\n", 400},
    {"absolute_target_in_http_1_0", "GET http://a/ HTTP/1.0\r\n\r\n", 0},
    {"https_target", with_target("https://a/"), 421},
    {"ftp_target", with_target("ftp://a/"), 421},
    {"target_with_user", with_target("http://u@a/"), 400},
    {"target_with_password", with_target("http://u:p@a/"), 400},
    {"target_without_host", with_target("http:///x"), 400},
    {"target_with_port_alone", with_target("http://:80/x"), 400},
    {"target_with_large_port", with_target("http://a:65536/"), 400},
    {"target_with_named_port", with_target("http://a:http/"), 400},
    {"target_with_escaped_host", with_target("http://a%2fb/"), 400},
    {"target_with_broken_ipv6", with_target("http://[::1/"), 400},
    {"target_with_text_after_ipv6", with_target("http://[::1]a/"), 400},
    {"target_with_backslash_host", with_target("http://a\\b/"), 400},
    {"absolute_target_with_fragment", with_target("http://a/#b"), 400},
    {"absolute_target_with_bad_escape", with_target("http://a/%zz"), 400},
    {"scheme_without_slashes", with_target("http:/a"), 400},
    {"empty_scheme", with_target("://a/"), 400},
    {"bad_scheme", with_target("1http://a/"), 400},
    {"two_slashes", with_target("//a/b"), 0},
    {"authority_target", with_target("a:80"), 400},
    {"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501},
    {"connect_to_path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    {"lower_case_connect", "connect a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"relative_target", with_target("a"), 400},
    {"star", with_target("*"), 400},
    {"space_in_target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    // 12
    {"tls_hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, 400},
    {"http_2_preface", "PRI * HTTP/2.0\r\n\r\n", 400},
    {"http_1_2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400},
    {"http_0_9", "GET /\r\n\r\n", 400},
    {"lower_case_http", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
    {"bad_method", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"no_method", " / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"empty_lines", "\r\n\r\n", 400},
    {"only_text", "hello\r\n\r\n", 400},
    {"incomplete", "GET / HTTP/1.1\r\nHost: a\r\n", 400},
    {"two_keys", with_fields("Host: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400},
    {"unknown_expectation", with_fields("Host: a\r\nExpect: 200-ok\r\n"), 417},
};

INSTANTIATE_TEST_SUITE_P(Cases, RequestHead, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(HeadScanner, FindsTheEndWhereverTheBytesAreCut) {
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string input = head + "GET /next";
  for (std::size_t cut = 0; cut <= head.size(); ++cut) {
    HeadScanner scanner({});
    const auto first = scanner.scan(input.substr(0, cut));
    EXPECT_FALSE(first.refusal);
    EXPECT_EQ(first.head_bytes, cut == head.size() ? head.size() : 0u) << cut;
    EXPECT_EQ(scanner.scan(input).head_bytes, head.size()) << cut;
  }
}

TEST(HeadScanner, RefusesEndlessHeadsEarly) {
  HeadLimits limits;
  limits.max_bytes = 100;
  limits.max_target_bytes = 20;
  const auto status = [&](const std::string& bytes) {
    const auto result = HeadScanner(limits).scan(bytes);
    return result.refusal ? result.refusal->status : 0;
  };
  EXPECT_EQ(status("GET / HTTP/1.1\r\nX: " + std::string(30, 'x')), 0);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nX: " + std::string(200, 'x')), 431);
  EXPECT_EQ(status("GET /" + std::string(200, 'x')), 414);
}

TEST(ParseTarget, GivesAuthorityPathAndQuery) {
  const auto parsed = [](std::string_view method, std::string_view target) {
    const RequestTarget found = parse_target(method, target).target;
    return std::string(found.authority) + " " + found.path_and_query;
  };
  EXPECT_EQ(parsed("GET", "/a?b=c"), " /a?b=c");
  EXPECT_EQ(parsed("GET", "http://h:1/a?b=c"), "h:1 /a?b=c");
  EXPECT_EQ(parsed("GET", "hTTp://[::1]"), "[::1] /");
  EXPECT_EQ(parsed("GET", "http://h?b=/c"), "h /?b=/c");
  EXPECT_EQ(parsed("OPTIONS", "*"), " *");
  EXPECT_EQ(parsed("OPTIONS", "http://h:1"), "h:1 *");
  EXPECT_EQ(parsed("OPTIONS", "http://h:1/"), "h:1 /");
}

TEST(DecodePath, LeavesOutTheQueryAndUndoesEscapes) {
  EXPECT_EQ(decode_path("/v1/models/org%2Fname?x=1"), "/v1/models/org/name");
  EXPECT_EQ(decode_path("/%E2%82%AC"), "/\xe2\x82\xac");
  EXPECT_EQ(decode_path("/%E2%82"), std::nullopt);
  EXPECT_EQ(decode_path("/%0d%0aX:"), std::nullopt);
}

}  // namespace
}  // namespace sinkstream
