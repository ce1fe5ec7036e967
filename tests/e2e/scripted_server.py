"""A proxy before a real group, under a path prefix as behind nginx, that writes the answers of a script."""

import http.client
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chat_page import check_log, open_page

PASSED_ON = ("content-type", "content-security-policy", "x-content-type-options", "cache-control", "etag")


def split_answer(text, characters=7):
    return [text[i:i + characters] for i in range(0, len(text), characters)]


class ScriptedServer:
    """`answer`: the text of the next answers, or a list of its pieces. `requests`: the bodies of the requests for one.
    `hold`: an event that an answer waits for before its last piece. `foreign`: what was asked for beside the prefix."""

    def __init__(self, upstream, prefix="/llm"):
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.prefix = prefix
        self.answer = "Yes."
        self.requests = []
        self.foreign = []
        self.hold = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}{prefix}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def _handler(self):
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.answer_with(b"")

            def do_POST(self):
                self.answer_with(self.rfile.read(int(self.headers["Content-Length"])))

            def answer_with(self, body):
                if not self.path.startswith(scripted.prefix + "/"):
                    scripted.foreign.append(self.path)
                    return self.send_error(404)
                path = self.path.removeprefix(scripted.prefix)
                if path == "/v1/chat/completions":
                    scripted.requests.append(json.loads(body))
                    return self.stream()
                return self.pass_on(path, body)

            def pass_on(self, path, body):
                upstream = http.client.HTTPConnection(scripted.upstream, timeout=60)
                upstream.request(self.command, path, body, {"Content-Type": "application/json"} if body else {})
                response = upstream.getresponse()
                data = response.read()
                upstream.close()
                self.send_response(response.status)
                for name in PASSED_ON:
                    if value := response.headers.get(name):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                pieces = split_answer(scripted.answer) if isinstance(scripted.answer, str) else scripted.answer
                try:
                    for i, piece in enumerate(pieces):
                        if scripted.hold and i == len(pieces) - 1:
                            scripted.hold.wait(60)
                        self.event({"choices": [{"index": 0, "delta": {"content": piece}}]})
                    self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    pass  # the page has stopped it
                self.close_connection = True

            def event(self, chunk):
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                self.wfile.flush()

        return Handler


@pytest.fixture
def server(group):
    """Writes what a test gives it, behind a path prefix."""
    with ScriptedServer(group.url) as running:
        yield running


@pytest.fixture
def scripted(chromium, server):
    """The page of `server`, whose port makes it a site of its own: nothing is stored yet."""
    yield open_page(chromium, server.url)
    check_log(chromium)
    assert server.foreign == []
