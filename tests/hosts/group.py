"""A worker group under launch/run-group whose processes are all found again, on whatever host they run."""

import os
import re
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from processes import (children_of, is_alive, mpi_rank, name_of, network_namespace_of, shared_memory_of,
                       with_environment)

PROJECT = Path(__file__).resolve().parents[2]
STREAM_WORKER = Path(os.environ.get("STREAM_WORKER", PROJECT / "build/release/worker/stream-worker"))
START_SECONDS, END_SECONDS = 300, 60  # guards against hanging
MARK = "SINKSTREAM_TEST_GROUP"


@dataclass(frozen=True)
class Fault:
    name: str
    needs_hosts: bool = False


KILL_RANK = Fault("the last rank is killed")
STOP_RANK = Fault("the last rank is stopped")
KILL_LAUNCHER = Fault("mpirun is killed")
KILL_DAEMON = Fault("the far host's daemon is killed", needs_hosts=True)
CUT_LINK = Fault("the far host's link is cut", needs_hosts=True)
KILL_HOST = Fault("the far host is gone", needs_hosts=True)
FAULTS = [KILL_RANK, STOP_RANK, KILL_LAUNCHER, KILL_DAEMON, CUT_LINK, KILL_HOST]


class Group:
    """`network`: the hosts it spans, one rank after the other on each in turn; None: this machine alone."""

    def __init__(self, ranks, options, log, network=None, environment=None):
        self.network = network
        self.url = None
        self.ranks = []  # process ids
        self._num_ranks = ranks
        self._mark = uuid.uuid4().hex
        self._log = open(log, "ab")
        self._log_begin = self._log.tell()
        self._shared_memory = set()  # the ranks' files in /dev/shm
        command = [PROJECT / "launch/run-group", str(ranks), STREAM_WORKER, *options]
        settings = os.environ | (environment or {}) | {MARK: self._mark}
        if network:
            names = network.names
            slots = [f"{name}:{len(range(i, ranks, len(names)))}" for i, name in enumerate(names)]
            command[1:1] = ["--host", ",".join(slots)]
            command += ["--set", f"server.listen={network.address(names[0])}:0", "--set", "server.insecure=true"]
            command = network.command(names[0], *command)
            settings |= network.environment()
        else:
            command += ["--set", "server.listen=127.0.0.1:0"]
        self._launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
                                          env=settings)

    def __enter__(self):
        deadline = time.monotonic() + START_SECONDS
        while not (match := re.search(r"listening on (http://\S+)", self.log())):
            if self._launcher.poll() is not None or time.monotonic() > deadline:
                end = self._await_end(time.monotonic())
                text = f"the group did not start, exit code {end['exit']}, left: {end['left']}\n{self.log()}"
                self.__exit__()
                raise RuntimeError(text)
            time.sleep(0.1)
        self.url = match[1]
        by_rank = {mpi_rank(pid): pid for pid in self._processes() if name_of(pid) == "stream-worker"}
        self.ranks = [by_rank[rank] for rank in range(self._num_ranks)]
        self._shared_memory = {path for pid in self.ranks for path in shared_memory_of(pid)}
        return self

    def __exit__(self, *_):
        self.kill()
        self._log.close()

    def end(self):
        """SIGTERM: a drain. How it ended, and what is left."""
        begin = time.monotonic()
        self._launcher.send_signal(signal.SIGTERM)
        return {"what": "SIGTERM"} | self._await_end(begin)

    def suffer(self, fault):
        """Injects the fault. How the group ended, and what is left."""
        begin = time.monotonic()
        if fault == KILL_RANK:
            os.kill(self.ranks[-1], signal.SIGKILL)
        elif fault == STOP_RANK:
            os.kill(self.ranks[-1], signal.SIGSTOP)
        elif fault == KILL_LAUNCHER:
            os.kill(self._named("mpirun", "prterun")[0], signal.SIGKILL)
        elif fault == KILL_DAEMON:
            os.kill(self._named("orted", "prted")[0], signal.SIGKILL)
        elif fault == CUT_LINK:
            self.network.cut(self.network.names[-1])
        elif fault == KILL_HOST:
            self.network.cut(self.network.names[-1])
            for pid in set(children_of(self._named("mpirun", "prterun")[0])) - set(self.ranks):
                os.kill(pid, signal.SIGSTOP)  # the agent: ssh would stay on the near host, and hear nothing
            for pid in self._on(self.network.names[-1]):
                os.kill(pid, signal.SIGKILL)
        try:
            return {"what": fault.name} | self._await_end(begin)
        finally:
            if fault in (CUT_LINK, KILL_HOST):
                self.network.mend(self.network.names[-1])

    def kill(self):
        """Every process at once."""
        for pid in self._living():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._launcher.wait()

    def await_end(self):
        return self._await_end(time.monotonic())

    def _await_end(self, begin):
        """Until every process has ended, not the launcher alone. That one is asked itself: a process that is about to end has
        no environment by which it could be found."""
        while (self._living() or self._launcher.poll() is None) and time.monotonic() - begin < END_SECONDS:
            time.sleep(0.05)
        seconds = time.monotonic() - begin
        left = [f"{name_of(pid)} ({pid})" for pid in self._living()]
        left += sorted(path for path in self._shared_memory if os.path.exists(path))
        if self.url and self._still_listens():
            left.append(f"a listener on {self.url}")
        return {"exit": self._launcher.poll(), "seconds": round(seconds, 2), "left": left}

    def _still_listens(self):
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            return False
        return True

    def log(self):
        self._log.flush()
        return Path(self._log.name).read_bytes()[self._log_begin:].decode(errors="replace")

    def _processes(self):
        """All that the launcher started, itself too."""
        self._launcher.poll()  # so that it does not stay as a zombie
        return with_environment(MARK, self._mark)

    def _living(self):
        return [pid for pid in self._processes() if is_alive(pid)]

    def _on(self, host):
        """The processes of a host: those that share its network namespace."""
        namespace = os.stat(f"/run/netns/{host}").st_ino
        return [pid for pid in self._living() if network_namespace_of(pid) == namespace]

    def _named(self, *names):
        return [pid for pid in self._processes() if name_of(pid) in names]
