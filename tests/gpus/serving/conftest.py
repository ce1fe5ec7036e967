"""A server on a GPU: one rank that no launcher started, as a machine without MPI's programs can run it."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120
DEVICE = os.environ.get("SERVER_DEVICE", "cuda")  # another, to try the tests themselves


class Server:
    def __init__(self, log, *settings):
        self._log = log
        words = ["server.listen=127.0.0.1:0", f"parallel.device={DEVICE}", *settings]
        options = [word for setting in words for word in ("--set", setting)]
        with log.open("w") as output:
            self.process = subprocess.Popen([PACK / "bin/stream-worker", "--config", PACK / "configs/demo.yaml", *options],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (match := re.search(r"listening on (http://\S+)", self.log())):
            assert self.process.poll() is None and time.monotonic() < deadline, f"it did not start:\n{self.log()}"
            time.sleep(0.05)
        self.url = match.group(1)

    def log(self):
        return self._log.read_text(errors="replace")

    def end(self):
        """Its exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def group(tmp_path_factory):
    """With the name that the tests of tests/e2e have for it."""
    server = Server(tmp_path_factory.mktemp("server") / "log", *os.environ.get("SERVER_SETTINGS", "").split())
    yield server
    server.end()
