// GET /: the chat page, from the binary.
#include <fmt/format.h>

#include <random>
#include <string>
#include <string_view>

#include "coordinator/api/endpoints.h"

namespace sinkstream {

// Made from coordinator/web/index.html by the build.
extern const char kIndexHtml[];
extern const unsigned long kIndexHtmlBytes;

namespace {

// Lets the page's own <script> and <style> run and nothing that text on the page could smuggle in.
std::string with_nonce(std::string_view page, const std::string& nonce) {
  std::string result;
  result.reserve(page.size() + 256);
  while (!page.empty()) {
    const std::size_t tag = std::min(page.find("<script>"), page.find("<style>"));
    if (tag == std::string_view::npos) break;
    const std::size_t end = page.find('>', tag);
    result += page.substr(0, end);
    result += " nonce=\"" + nonce + "\">";
    page.remove_prefix(end + 1);
  }
  result += page;
  return result;
}

Response page_response() {
  thread_local std::random_device random;
  const std::string nonce = fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
  Response response{200, "text/html; charset=utf-8", with_nonce({kIndexHtml, kIndexHtmlBytes}, nonce)};
  response.headers = {
      {"Content-Security-Policy", fmt::format("default-src 'none'; script-src 'nonce-{0}'; style-src "
                                              "'nonce-{0}'; connect-src 'self'; img-src data:; "
                                              "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                                              nonce)},
      {"Referrer-Policy", "no-referrer"},
      {"Cache-Control", "no-store"}};
  return response;
}

}  // namespace

void add_page(Router& router) {
  router.add({"GET", "/",
              [](const std::shared_ptr<Exchange>& exchange) { exchange->respond(page_response()); },
              /*open=*/true});
}

}  // namespace sinkstream
