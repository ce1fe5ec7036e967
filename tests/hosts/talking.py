"""What the tests ask of a group, and its answers in a form that shows every bit."""

import json
import threading
import urllib.request


def complete(url, **fields):
    body = json.dumps({"temperature": 0, "ignore_eos": True} | fields).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)["choices"][0]


class Stream(threading.Thread):
    """A long answer in the background; `lines` are its events, `broken` what ended it before its end."""

    def __init__(self, url, **fields):
        super().__init__(daemon=True)
        self.lines, self.broken = [], None
        body = json.dumps({"stream": True, "ignore_eos": True, "prompt": "It was"} | fields).encode()
        self._request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
        self._begun = threading.Event()
        self.start()
        assert self._begun.wait(120), "no token came"

    def run(self):
        try:
            with urllib.request.urlopen(self._request, timeout=300) as response:
                for line in response:
                    if line.startswith(b"data:"):
                        self.lines.append(line[5:].strip().decode())
                        self._begun.set()
        except Exception as error:  # the test looks at it
            self.broken = error

    def error(self):
        """The message of the stream's error event, or None."""
        events = [json.loads(line) for line in self.lines if line != "[DONE]"]
        return next((event["error"]["message"] for event in events if "error" in event), None)
