"""However a group on several hosts ends: in bounded time, told to every stream, and with nothing left on any host."""

import re

import pytest
from hosts.group import CUT_LINK, FAULTS, KILL_DAEMON, KILL_LAUNCHER, PROJECT, Group
from hosts.talking import Stream, complete

STUCK_SECONDS = 3
BOUND = STUCK_SECONDS + 5  # what docs/hosts.md promises
DEMO = ["--config", PROJECT / "configs/demo.yaml", "--set", f"parallel.stuck_seconds={STUCK_SECONDS}", "--set", "cache.slots=4"]
OTHER_MODEL = PROJECT / "tests/data/models/llama-gqa"


def suffer(fault, ranks, hosts, log):
    """`ranks`: one on each host. The log."""
    last_is_lost = fault not in (KILL_LAUNCHER, KILL_DAEMON)  # else who tells it first
    named = rf"rank {ranks - 1} \(pid \d+ on host{ranks}\)" if last_is_lost else r"rank \d \(pid \d+ on host\d\)"
    with Group(ranks, DEMO, log, hosts) as group:
        streams = [Stream(group.url, max_tokens=1_000_000) for _ in range(2)]
        end = group.suffer(fault)
        for stream in streams:
            stream.join(60)
        text = group.log()
    assert end["left"] == []
    assert end["exit"] not in (0, None)
    assert end["seconds"] < BOUND
    for stream in streams:
        assert stream.lines[-1] != "[DONE]" and stream.error(), stream.lines[-1]
        assert re.search(named, stream.error()), stream.error()
    return text


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_fault(fault, hosts, tmp_path):
    text = suffer(fault, 2, hosts, tmp_path / "log")
    if fault == KILL_LAUNCHER:  # nobody is there to pass on what the ranks write
        return
    told = r"the worker group is lost: rank \d \(pid \d+ on host\d\)"
    if fault == KILL_DAEMON:  # OpenMPI 5's mpirun ends with it, and names the host itself
        told += r"|lost communication with a remote daemon(?s:.*)Remote daemon: .* on node host2"
    assert re.search(told, text), text


@pytest.mark.parametrize("hosts", [3], indirect=True)
def test_one_of_three_hosts_is_cut_off(hosts, tmp_path):
    assert "rank 2 (pid " in suffer(CUT_LINK, 3, hosts, tmp_path / "log")


def test_a_new_group_starts_at_once_after_a_cut(hosts, tmp_path):
    suffer(CUT_LINK, 2, hosts, tmp_path / "log")
    with Group(2, DEMO, tmp_path / "log", hosts) as group:
        assert complete(group.url, prompt="It was", max_tokens=3)["finish_reason"] == "length"
        assert group.end()["exit"] == 0


def test_sigterm_finishes_the_streams_in_flight(hosts, tmp_path):
    with Group(2, DEMO, tmp_path / "log", hosts) as group:
        stream = Stream(group.url, max_tokens=60)
        end = group.end()
        stream.join(60)
    assert (end["exit"], end["left"], stream.broken) == (0, [], None)
    assert stream.lines[-1] == "[DONE]"


def test_a_host_that_cannot_be_reached(hosts, tmp_path):
    with pytest.raises(RuntimeError, match=r"exit code [1-9]\d*, left: \[\]\n"):
        with Group(2, DEMO, tmp_path / "log", hosts, {"PREPARE_host2": "exit 255"}):
            pass


@pytest.mark.parametrize("there, code, message", [
    (OTHER_MODEL, 3, r"rank 1 on host2 sees other checkpoint files"),
    (PROJECT / "docs", 3, r"rank 1 on host2: .*config\.json"),
], ids=["another-model", "no-model"])
def test_a_host_with_another_model_or_none(there, code, message, hosts, tmp_path):
    prepare = {"PREPARE_host2": f"mount --bind {there} {PROJECT / 'models/demo'}"}
    with pytest.raises(RuntimeError, match=message) as refusal:
        with Group(2, DEMO, tmp_path / "log", hosts, prepare):
            pass
    assert f"exit code {code}, left: []\n" in str(refusal.value)
