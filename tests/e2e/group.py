"""Starts and watches real worker groups: mpirun, its ranks, and their HTTP address."""

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import openai

from api_description import ApiDescription
from mpirun import AS_ROOT, FOR_MPIRUN
from processes import children_of, is_alive, mpi_rank

PROJECT = Path(__file__).resolve().parents[2]
STREAM_WORKER = Path(os.environ.get("STREAM_WORKER", PROJECT / "build/release/worker/stream-worker"))
# For what must come: so long that only something broken misses it. It costs nothing when it comes.
PATIENCE_SECONDS = 180
# Where a group must notice an end by something faster than silence, silence takes longer than a test waits; and streams
# of a busy machine may take their time to finish.
CALM = ("parallel.stuck_seconds=3600", "server.drain_seconds=3600")


def wait_until(condition, seconds=PATIENCE_SECONDS):
    """Whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Group:
    """A worker group under mpirun, under launch/run-group (`supervised`), or under a `launcher`: the words before the
    program, whose process becomes mpirun or starts it."""

    def __init__(self, *settings, config=PROJECT / "configs/demo.yaml", num_ranks=2, supervised=False, launcher=None):
        command = [STREAM_WORKER, "--config", config, "--set", "server.listen=127.0.0.1:0"]
        for setting in [*CALM, *settings]:
            command += ["--set", setting]
        if launcher:
            command = [*launcher, *command]
        elif supervised:
            command = [PROJECT / "launch/run-group", str(num_ranks), *command]
        else:
            command = ["mpirun", "-np", str(num_ranks), "--oversubscribe", "--bind-to", "none", *command]
        environment = os.environ | (AS_ROOT if supervised else FOR_MPIRUN)
        self._log = tempfile.TemporaryFile()
        self.launcher = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True)
        self.num_ranks = num_ranks
        self.supervised = supervised
        self.mpirun = None  # process ids, known once it listens
        self.ranks = []
        self.url = None
        self._api = None  # ApiDescription, read once

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def log(self):
        # Not by seeking: the group writes at the same file offset.
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    def wait_until_listening(self):
        def listens():
            match = re.search(r"listening on (http://\S+)", self.log())
            self.url = match and match.group(1)
            return self.url or self.launcher.poll() is not None

        wait_until(listens)
        if not self.url:
            self.stop()
            raise AssertionError(f"the group did not start:\n{self.log()}")
        for pid in [self.launcher.pid, *children_of(self.launcher.pid)]:
            ranks = {mpi_rank(child): child for child in children_of(pid)}
            if ranks.keys() >= set(range(self.num_ranks)):
                self.mpirun = pid
                self.ranks = [ranks[rank] for rank in range(self.num_ranks)]
                return self
        self.stop()
        raise AssertionError(f"the group ended as soon as it listened:\n{self.log()}")

    def connect(self):
        """The official client; it does not retry, so that every failure is seen."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_SECONDS,
                             http_client=openai.DefaultHttpxClient(event_hooks={"response": [self._check_answer]}))

    def _check_answer(self, response):
        """Every answer that a test gets is as /openapi.json says; streams are checked in test_openapi.py."""
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return
        response.read()
        if self._api is None:
            self._api = ApiDescription.of(self.url)
        self._api.check_answer(response.request.method, response.request.url.path, response.status_code,
                               response.headers["content-type"], response.content)

    def processes(self):
        return [self.launcher.pid, self.mpirun, *self.ranks]

    def survivors(self):
        self.launcher.poll()  # so that it does not stay as a zombie
        return [pid for pid in self.processes() if is_alive(pid)]

    def wait(self, seconds=PATIENCE_SECONDS):
        """The launcher's exit code; fails when it does not end in time."""
        try:
            return self.launcher.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the group has not ended after {seconds} s:\n{self.log()}") from None

    def stop(self):
        """Ends whatever still runs of this group."""
        if self.launcher.poll() is None:
            self.launcher.send_signal(signal.SIGTERM)
            try:
                self.launcher.wait(5)
            except subprocess.TimeoutExpired:
                pass
        for pid in [self.launcher.pid, self.mpirun, *self.ranks]:
            if pid and is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.launcher.wait()
