// GET /v1/sessions/{id}/transcript
#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "coordinator/api/endpoints/endpoints.h"
#include "coordinator/api/sessions/session_registry.h"
#include "coordinator/api/sessions/session_request.h"

namespace sinkstream {
namespace {

// A whole number in the query, "?from=12&to=34".
std::optional<std::int64_t> read_query(std::string_view target, std::string_view name) {
  const std::size_t query = target.find('?');
  std::string_view rest = query == target.npos ? std::string_view() : target.substr(query + 1);
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
    if (pair.size() <= name.size() || !pair.starts_with(name) || pair[name.size()] != '=') continue;
    const std::string_view digits = pair.substr(name.size() + 1);
    std::int64_t value = 0;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (failure == std::errc{} && end == digits.data() + digits.size() && value >= 0) return value;
    throw bad_request(fmt::format("'{}' must be a whole number from 0 on.", name), std::string(name));
  }
  return std::nullopt;
}

[[noreturn]] void refuse_dropped(std::int64_t first_kept) {
  RequestError gone{410, "gone_error", "transcript_dropped",
                    fmt::format("The transcript begins at {}: what stood before was dropped "
                                "(sessions.transcript_tokens).",
                                first_kept),
                    "from"};
  gone.numbers.emplace_back("first_kept", first_kept);
  throw gone;
}

// What is asked for, or what there is.
struct Span {
  std::optional<std::int64_t> from;
  std::int64_t to = 0;
};

KeptTokens read(ApiContext& api, const ClientSession& session, const Span& span) {
  const std::int64_t begin =
      std::max(span.from.value_or(0), session.tokens() - api.sessions.settings().transcript_tokens);
  KeptTokens kept = api.sessions.on_disk().is_there() ? api.sessions.on_disk().read(session, begin, span.to)
                                                      : session.read(begin, span.to);
  if (span.from && *span.from < kept.begin) refuse_dropped(kept.begin);
  return kept;
}

void transcript(ApiContext& api, const std::shared_ptr<Exchange>& exchange) {
  const Request& request = exchange->request();
  const auto session = api.sessions.find(session_id_in(request.path), request);
  const std::int64_t end = session->tokens();
  const Span span{read_query(request.target, "from"),
                  std::min(read_query(request.target, "to").value_or(end), end)};
  if (span.from.value_or(0) > span.to) {
    throw bad_request(fmt::format("'from' ({}) lies behind the end ({}).", *span.from, span.to), "from");
  }
  // Of megabytes, so not on the I/O thread.
  api.executor->offload_long([&api, exchange, session, span] {
    KeptTokens kept;
    try {
      kept = read(api, *session, span);
    } catch (const RequestError& error) {
      return exchange->fail(error);
    }
    Json answer = {{"object", "session.transcript"}, {"session", session->facts().id}, {"from", kept.begin}};
    answer["to"] = kept.begin + std::ssize(kept.tokens);
    answer["tokens"] = kept.tokens;
    answer["text"] = api.tokenizer.decode(kept.tokens, /*skip_special_tokens=*/false);
    api.sessions.on_disk()
        .when_written(exchange, session->facts().id)
        ->respond({200, "application/json", to_text(answer)});
  });
}

}  // namespace

void add_session_transcript(Router& router, ApiContext& api) {
  router.add({"GET", "/v1/sessions/:id/transcript",
              [&api](const std::shared_ptr<Exchange>& exchange) { transcript(api, exchange); }});
}

}  // namespace sinkstream
