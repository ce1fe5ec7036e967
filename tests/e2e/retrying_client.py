"""A plain HTTP client that tries again as the official one does, and a proxy that cuts its connections."""

import http.client
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass

from group import PATIENCE_SECONDS

INITIAL_DELAY, MAX_DELAY = 0.5, 8
LONGEST_RETRY_AFTER = 120


class GaveUp(Exception):
    """A timeout of the client's own."""


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)

    def events(self):
        """Those of a stream, as JSON; it must have its end."""
        events = [line[len("data: "):] for line in self.body.decode().split("\n\n") if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        return [json.loads(event) for event in events[:-1]]


class RetryingClient:
    """Three attempts in all: after a broken connection, a timeout, 408, 409, 429 and 5xx, unless x-should-retry says
    otherwise. `wait` is called with the seconds to wait and the answer, None where there was none. The official client
    does not repeat a stream that broke off after its head; this one does, as its user would."""

    def __init__(self, url, wait=lambda seconds, answer: time.sleep(seconds), max_retries=2):
        self.url = url
        self.wait = wait
        self.max_retries = max_retries

    def post(self, path, body, headers=None, after_sending=None):
        """`after_sending(attempt)` may raise GaveUp."""
        for attempt in range(self.max_retries + 1):
            sent = {"Content-Type": "application/json", "x-stainless-retry-count": str(attempt)} | (headers or {})
            answer = None
            try:
                answer = self._attempt(path, json.dumps(body), sent, after_sending and (lambda: after_sending(attempt)))
            except (OSError, http.client.HTTPException, GaveUp):
                if attempt == self.max_retries:
                    raise
            if answer and (attempt == self.max_retries or not self._should_retry(answer)):
                return answer
            self.wait(self._delay(attempt, answer), answer)

    def _attempt(self, path, body, headers, after_sending):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", path, body, headers)
            if after_sending:
                after_sending()
            response = connection.getresponse()
            if not {"Content-Length", "Transfer-Encoding"} & set(response.headers):  # http.client takes a torn head for one
                raise http.client.IncompleteRead(b"")
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    @staticmethod
    def _should_retry(answer):
        asked = answer.headers.get("x-should-retry")
        if asked in ("true", "false"):
            return asked == "true"
        return answer.status in (408, 409, 429) or answer.status >= 500

    @staticmethod
    def _delay(attempt, answer):
        asked = float(answer.headers.get("Retry-After", 0)) if answer else 0
        return asked if 0 < asked <= LONGEST_RETRY_AFTER else min(INITIAL_DELAY * 2**attempt, MAX_DELAY)


class CuttingProxy:
    """Before a server: the connections are cut when so many bytes of the answer have passed, or when a function returns,
    each as `cuts` says in turn; None, and whatever comes after the list's end, passes whole."""

    def __init__(self, upstream):
        self.upstream = urllib.parse.urlsplit(upstream)
        self.cuts = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, self.cuts.pop(0) if self.cuts else None), daemon=True).start()

    def _serve(self, client, cut):
        with client, socket.create_connection((self.upstream.hostname, self.upstream.port)) as server:
            # The request goes up on a thread of its own; when the client leaves, so does this connection.
            threading.Thread(target=self._pass_up, args=(client, server), daemon=True).start()
            passed = 0
            if callable(cut):
                cut()
                return self._end(client, server)
            while data := self._receive(server):
                data = data if cut is None else data[:cut - passed]
                passed += len(data)
                try:
                    client.sendall(data)
                except OSError:
                    break
                if passed == cut:
                    break
            self._end(client, server)

    @staticmethod
    def _end(*connections):
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def _receive(connection):
        try:
            return connection.recv(65536)
        except OSError:
            return b""

    def _pass_up(self, client, server):
        try:
            while data := self._receive(client):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
