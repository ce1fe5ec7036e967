#include "coordinator/api/retries/recording_exchange.h"

namespace sinkstream {

// Each is posted, so that they take effect in the order of their calls, whichever thread calls.
RecordingExchange::~RecordingExchange() {
  post([](RecordedAnswer& answer) { answer.let_go(); });
}

void RecordingExchange::add_header(Header header) {
  post([header = std::move(header)](RecordedAnswer& answer) { answer.add_header(header); });
}

void RecordingExchange::respond(Response response) {
  post([response = std::move(response)](RecordedAnswer& answer) { answer.respond(response); });
}

void RecordingExchange::start_stream() {
  post([](RecordedAnswer& answer) { answer.start_stream(); });
}

void RecordingExchange::send(std::string_view events) {
  post([events = std::string(events)](RecordedAnswer& answer) { answer.send(events); });
}

void RecordingExchange::finish_stream() {
  post([](RecordedAnswer& answer) { answer.finish_stream(); });
}

void RecordingExchange::fail(const RequestError& error) {
  post([error](RecordedAnswer& answer) { answer.fail(error); });
}

void RecordingExchange::note_tokens(const TokenCounts& tokens) {
  post([tokens](RecordedAnswer& answer) { answer.note_tokens(tokens); });
}

void RecordingExchange::on_abandoned(std::function<void(AbandonCause)> callback) {
  post([callback = std::move(callback)](RecordedAnswer& answer) { answer.on_abandoned(callback); });
}

void RecordingExchange::on_room(std::function<void()> callback) {
  post([callback = std::move(callback)](RecordedAnswer& answer) { answer.on_room(callback); });
}

}  // namespace sinkstream
