"""One session of a soak: it reads a prompt, whose losses are kept block by block, and then answers greedily."""

import http.client
import json
import threading
import time
import urllib.parse

SILENCE_SECONDS = 900  # the server sends a comment every few seconds, so this guards against hanging alone


class Session(threading.Thread):
    """Streams `prompt` and an answer of `answer_tokens`. `result` is set at the end, else `failure`."""

    def __init__(self, url, number, prompt, answer_tokens, block):
        super().__init__(name=f"session {number}", daemon=True)
        self.number = number
        self.tokens = 0  # read and answered so far
        self.result = None
        self.failure = None
        self._url = urllib.parse.urlsplit(url)
        self._prompt = prompt
        self._answer_tokens = answer_tokens
        self._block = block
        self._blocks = []  # summed negative log-likelihood of each block of the prompt
        self._answer = []

    def run(self):
        start = time.monotonic()
        try:
            usage = self._stream()
            self.result = {"session": self.number, "losses": self._blocks, "answer": "".join(self._answer),
                           "usage": usage, "seconds": round(time.monotonic() - start, 1)}
        except Exception as error:  # whatever it was, the soak tells of it
            self.failure = f"{type(error).__name__}: {error}"

    def _stream(self):
        connection = http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=SILENCE_SECONDS)
        body = {"prompt": self._prompt, "echo": True, "logprobs": 0, "max_tokens": self._answer_tokens,
                "temperature": 0, "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"the server answered {response.status}: {response.read(2000).decode(errors='replace')}")
        usage = None
        for line in response:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return self._checked(usage)
            event = json.loads(data)
            if "error" in event:
                raise RuntimeError("error event: " + event["error"]["message"])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                self._take(choice)
        raise RuntimeError("the stream broke off")

    def _take(self, choice):
        logprobs = (choice["logprobs"] or {}).get("token_logprobs", [])
        if logprobs and self.tokens >= len(self._prompt):
            self._answer.append(choice["text"])
        for logprob in logprobs:
            if self.tokens < len(self._prompt):
                if self.tokens % self._block == 0:
                    self._blocks.append(0.0)
                self._blocks[-1] -= logprob or 0.0  # the first token has none
            self.tokens += 1

    def _checked(self, usage):
        expected = len(self._prompt) + self._answer_tokens
        if self.tokens != expected:
            raise RuntimeError(f"{self.tokens} tokens came instead of {expected}")
        return usage["session"]
