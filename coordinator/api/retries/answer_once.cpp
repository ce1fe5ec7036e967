#include "coordinator/api/retries/answer_once.h"

#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/api/request/request_json.h"
#include "coordinator/api/retries/answer_records.h"
#include "coordinator/api/retries/asked.h"
#include "coordinator/api/sessions/session_registry.h"

namespace sinkstream {

Handler answer_once(ApiContext& api, JsonHandler handler, bool reads_expected_seen) {
  return [&api, handler, reads_expected_seen](const std::shared_ptr<Exchange>& exchange) {
    const std::string text = exchange->take_body();
    nlohmann::ordered_json body = parse_request_json(text);
    const Request& request = exchange->request();
    Asked asked = read_asked(request, api.sessions.owner_of(request), text, body, reads_expected_seen);
    if (!asked.changes_sessions) return handler(api, exchange, body);
    const Handler begin = [&api, handler, session = asked.session,
                           body = std::make_shared<const nlohmann::ordered_json>(std::move(body))](
                              const std::shared_ptr<Exchange>& answered) {
      handler(api, session.empty() ? answered : api.sessions.on_disk().when_written(answered, session),
              *body);
    };
    api.executor->post(
        [&api, exchange, asked = std::move(asked), begin] { api.records.answer(asked, exchange, begin); });
  };
}

}  // namespace sinkstream
