"""What /proc says of processes, for all tests that start some. One that has ended, meanwhile even, is no error."""

import os
import re
from pathlib import Path


def _text(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _stat(pid):
    """Its fields from the state on; the name before them may hold anything."""
    return _text(pid, "stat").rpartition(")")[2].split()


def state_of(pid):
    """The kernel's letter for a process; empty where there is none."""
    return "".join(_stat(pid)[:1])


def is_alive(pid):
    """A zombie is not."""
    return state_of(pid) not in ("", "Z", "X")


def name_of(pid):
    return _text(pid, "comm").strip()


def threads_of(pid):
    try:
        return [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def children_of(pid):
    return [int(child) for thread in threads_of(pid) for child in _text(pid, f"task/{thread}/children").split()]


def environment_of(pid):
    entries = _text(pid, "environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def with_environment(name, value):
    """All processes that were started with a variable."""
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and environment_of(pid).get(name) == value]


def mpi_rank(pid):
    """The rank of a process that OpenMPI's mpirun started, else None."""
    rank = environment_of(pid).get("OMPI_COMM_WORLD_RANK")
    return None if rank is None else int(rank)


def cpu_seconds(pid):
    """Time that its threads have spent on a CPU: not by the clock's ticks, which only sample it."""
    nanoseconds = 0
    for thread in threads_of(pid):
        nanoseconds += sum(map(int, _text(pid, f"task/{thread}/schedstat").split()[:1]))
    return nanoseconds / 1e9


def sleeps(pid):
    """How often its threads have gone to sleep, and so woken up or will."""
    return sum(int(count) for thread in threads_of(pid)
               for count in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", _text(pid, f"task/{thread}/status"), re.M))


def cpus_of(pid):
    """The CPUs on which any of its threads may run."""
    cpus = set()
    for thread in threads_of(pid):
        try:
            cpus |= os.sched_getaffinity(thread)
        except ProcessLookupError:
            continue
    return cpus


def resident_bytes(pid):
    """Physical memory."""
    pages = _text(pid, "statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def shared_memory_of(pid):
    """Its files in /dev/shm."""
    return set(re.findall(r"/dev/shm/\S+", _text(pid, "maps")))


def network_namespace_of(pid):
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None
