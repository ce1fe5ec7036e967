// GET / and /page/*: the chat page and its files, from the binary.
#include <algorithm>
#include <string>
#include <string_view>

#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/http/message/request_error.h"
#include "coordinator/web/web_files.h"

namespace sinkstream {
namespace {

constexpr std::string_view kDirectory = "/page/";

// The page runs its own files and nothing that text on it could smuggle in; nothing is loaded from elsewhere.
constexpr const char* kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify";

const char* content_type(std::string_view name) {
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  return "text/html; charset=utf-8";
}

// Kept by the browser, which asks each time whether it changed: a new server's page is never mixed with an
// old one's.
void respond_with_file(Exchange& exchange, std::string_view name) {
  const auto files = web_files();
  const auto file = std::ranges::find(files, name, &WebFile::name);
  if (file == files.end()) {
    throw RequestError{404, "not_found_error", "not_found",
                       "There is no " + exchange.request().path + " here."};
  }
  // By substring: the field may be a list, and a proxy that compresses adds "W/".
  const bool unchanged =
      exchange.request().header("If-None-Match").find(file->etag) != std::string_view::npos;
  Response response{unchanged ? 304 : 200, content_type(name), unchanged ? "" : std::string(file->bytes)};
  response.headers = {{"Content-Security-Policy", kContentSecurityPolicy},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cache-Control", "no-cache"},
                      {"ETag", std::string(file->etag)}};
  exchange.respond(std::move(response));
}

}  // namespace

void add_page(Router& router) {
  router.add({"GET", "/",
              [](const std::shared_ptr<Exchange>& exchange) { respond_with_file(*exchange, "index.html"); },
              /*open=*/true});
  router.add({"GET", std::string(kDirectory) + "*",
              [](const std::shared_ptr<Exchange>& exchange) {
                respond_with_file(*exchange,
                                  std::string_view(exchange->request().path).substr(kDirectory.size()));
              },
              /*open=*/true});
}

}  // namespace sinkstream
