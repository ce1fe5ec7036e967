"""A worker group that answers requests."""

import http.client
import json
import re
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

from comparison.trees import PROJECT, Failed

START_SECONDS = 600  # guards against hanging; costs nothing
ANSWER_SECONDS = 600
END_SECONDS = 60


class Group:
    def __init__(self, stream_worker, model, ranks, settings):
        command = ["setpriv", "--pdeathsig", "TERM", PROJECT / "launch/run-group", str(ranks), stream_worker, model]
        for key, value in {"server.listen": "127.0.0.1:0", **settings}.items():
            command += ["--set", f"{key}={value}"]
        self._command = " ".join(map(str, command[3:]))
        self._log = tempfile.NamedTemporaryFile()
        self._launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT)
        try:
            self._address = self._wait_until_listening()
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def _wait_until_listening(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._launcher.poll() is None:
            if found := re.search(r"listening on (http://\S+)", self.log()):
                return urllib.parse.urlsplit(found.group(1)).netloc
            time.sleep(0.02)
        raise Failed(f"{self._command} does not serve:\n{self.log()}")

    def log(self):
        return Path(self._log.name).read_text(errors="replace")

    def complete(self, **fields):
        """The body of an answer of /v1/completions, as bytes."""
        connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", "/v1/completions", json.dumps(fields), {"Content-Type": "application/json"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{self._command}: {error!r}\n{self.log()}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise Failed(f"{self._command}: {response.status} {body.decode(errors='replace')}")
        return body

    def end(self):
        """Asks once, then insists."""
        for insist in (self._launcher.terminate, self._launcher.terminate, self._launcher.kill):
            if self._launcher.poll() is None:
                insist()
                try:
                    self._launcher.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        self._log.close()
